"""Rows of different lengths as one run of tokens: step by step, at each step only the rows that still have one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Which tokens there are, in the order in which a recurrent layer meets them.

    Attributes:
        rows: (batch,), the rows from the longest to the shortest.
        index: (tokens,), where each token stands in a flattened (batch * time).
        counts: for each step the number of rows that still have a token, the first so many of `rows`; none is zero.
        last: (batch,), for each of `rows` the place of its last token in `index`; -1 for a row without any.
    """

    rows: Tensor
    index: Tensor
    counts: list[int]
    last: Tensor

    @classmethod
    def of(cls, lengths: Tensor, time: int) -> Packing:
        """Packing of right-padded rows of `lengths` (batch,), each at most `time`."""
        ordered, rows = lengths.sort(descending=True, stable=True)
        steps = torch.arange(time, device=lengths.device)[:, None]
        valid = steps < ordered
        counts = valid.sum(dim=1)
        starts = counts.cumsum(0) - counts
        last = -torch.ones_like(ordered)
        some = ordered > 0
        last[some] = starts[ordered[some] - 1] + torch.arange(len(rows), device=lengths.device)[some]
        index = (rows * time + steps)[valid]
        return cls(rows, index, [count for count in counts.tolist() if count], last)

    def pack(self, x: Tensor) -> Tensor:
        """(D, batch, time, width) -> (D, tokens, width)."""
        return x.flatten(1, 2).index_select(1, self.index)

    def unpack(self, packed: Tensor, batch: int, time: int) -> Tensor:
        """(D, tokens, width) -> (D, batch, time, width), zeros where there is no token."""
        directions, tokens, width = packed.shape
        shape = (directions, batch * time, width)
        x = packed.new_empty(shape) if tokens == batch * time else packed.new_zeros(shape)
        return x.index_copy_(1, self.index, packed).view(directions, batch, time, width)
