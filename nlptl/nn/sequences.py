"""Right-padded sequences: how long each is, and the same read from its end."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_lengths(attention_mask: Tensor) -> Tensor:
    """Number of tokens in each row, (batch,).

    Args:
        attention_mask: (batch, time), 1 for a token and 0 for padding.

    Raises:
        ValueError: a token follows padding. All our tokenizers pad on the right.
    """
    lengths = attention_mask.long().sum(dim=1)
    steps = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    if not torch.equal(attention_mask.bool(), steps < lengths[:, None]):
        raise ValueError("padding must be on the right (tokenizer.padding_side = 'right')")
    return lengths


def row_lengths(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """`valid_lengths`, or the whole time where there is no mask: (batch,).

    Args:
        input_ids: (batch, time, ...).
    """
    if attention_mask is None:
        return torch.full(input_ids.shape[:1], input_ids.shape[1], device=input_ids.device)
    return valid_lengths(attention_mask)


def reverse_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row with its first `lengths` positions in reverse order; padding stays at the end. Its own inverse.

    Args:
        x: (batch, time) or (batch, time, width).
        lengths: (batch,).
    """
    steps = torch.arange(x.shape[1], device=x.device)[None, :]
    index = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    if x.dim() == 3:
        return x.gather(1, index[:, :, None].expand_as(x))
    return x.gather(1, index)
