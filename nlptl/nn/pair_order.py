"""A pair of texts in one sequence, the other way round."""

from __future__ import annotations

import torch
from torch import Tensor


def swapped_pair(input_ids: Tensor, lengths: Tensor, separator: int, *, head: int, tail: int) -> Tensor:
    """`marks A separator B marks` -> `marks B separator A marks`; rows without a separator stay as they are.

    Args:
        input_ids: (batch, time), padded on the right.
        lengths: (batch,), tokens of each row, marks included.
        separator: the token between the texts; the first one counts.
        head, tail: marks before the first text and after the second.
    """
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    end = (lengths - tail)[:, None]
    parts = (input_ids == separator) & (places >= head) & (places < end)
    paired = parts.any(dim=1, keepdim=True)
    cut = parts.long().argmax(dim=1)[:, None]
    second = end - cut - 1  # tokens of B
    source = torch.where(
        places < head + second,
        places - head + cut + 1,
        torch.where(places == head + second, cut, places - second - 1),
    )
    inside = (places >= head) & (places < end) & paired
    return input_ids.gather(1, torch.where(inside, source, places))
