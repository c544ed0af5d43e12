"""Token vectors of documents that are read chunk by chunk, brought together in one padded tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenPieces:
    """What has been gathered so far; `update` gives a new one, so that a chunk can be computed again.

    Attributes:
        count: (batch,), tokens gathered of each document.
        nothing: (0, layers, width), of the type and on the device of the vectors.
        pieces: of each chunk the rows and the places of its tokens, (tokens,) each, and their vectors
            (tokens, layers, width).
    """

    count: Tensor
    nothing: Tensor
    pieces: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()

    @classmethod
    def empty(cls, batch: int, layers: int, width: int, like: Tensor) -> TokenPieces:
        """Nothing gathered yet."""
        count = torch.zeros(batch, dtype=torch.long, device=like.device)
        return cls(count, like.new_empty(0, layers, width))

    def update(self, rows: slice, x: Tensor, valid: Tensor) -> TokenPieces:
        """Take in the next tokens of some rows.

        Args:
            rows: the rows of the batch that `x` belongs to.
            x: (rows, time, layers, width).
            valid: (rows, time), True for the tokens to gather; each row's come before the others.
        """
        row, step = valid.nonzero(as_tuple=True)
        place = self.count[rows][row] + step
        count = self.count.clone()
        count[rows] += valid.sum(dim=1)
        first = rows.indices(len(count))[0]
        return TokenPieces(count, self.nothing, (*self.pieces, (row + first, place, x[row, step])))

    def result(self) -> Tensor:
        """(batch, most tokens of a row but at least 1, layers, width), zeros after each row's last token."""
        longest = max(1, int(self.count.max())) if len(self.count) else 1
        whole = self.nothing.new_zeros(len(self.count), longest, *self.nothing.shape[1:])
        if not self.pieces:
            return whole
        row, place, x = (torch.cat(parts) for parts in zip(*self.pieces, strict=True))
        return whole.index_put((row, place), x.to(whole.dtype))
