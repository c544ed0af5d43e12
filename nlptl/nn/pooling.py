"""Token vectors of a document -> one vector, over its valid positions only, in one pass or chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max", "last", "concat"]


@dataclass
class RunningPool:
    """Last, maximum and sum of token vectors, gathered chunk by chunk so that no document has to be kept whole.

    Attributes:
        last, maximum, total: (batch, width) each.
        count: (batch, 1), the number of tokens pooled so far.
    """

    last: Tensor
    maximum: Tensor
    total: Tensor
    count: Tensor

    @classmethod
    def empty(cls, batch: int, width: int, like: Tensor) -> RunningPool:
        """Nothing pooled yet."""
        zeros = like.new_zeros(batch, width)
        lowest = like.new_full((batch, width), torch.finfo(like.dtype).min)
        return cls(last=zeros, maximum=lowest, total=zeros, count=like.new_zeros(batch, 1))

    def update(self, rows: slice, x: Sequence[Tensor], valid: Tensor) -> RunningPool:
        """Take in the next tokens of some rows; the others stay as they are.

        Args:
            rows: the rows of the batch that `x` belongs to.
            x: what makes up the width, (rows, time, ...) each; joined when they are pooled, which takes less memory.
            valid: (rows, time), True where a token is to be pooled.
        """
        pooled = [RunningPool.of(layer, valid) for layer in x]
        part = RunningPool(
            last=torch.cat([layer.last for layer in pooled], dim=1),
            maximum=torch.cat([layer.maximum for layer in pooled], dim=1),
            total=torch.cat([layer.total for layer in pooled], dim=1),
            count=pooled[0].count,
        )
        some = part.count > 0
        return RunningPool(
            last=_replaced(self.last, rows, torch.where(some, part.last, self.last[rows])),
            maximum=_replaced(self.maximum, rows, torch.maximum(self.maximum[rows], part.maximum)),
            total=_replaced(self.total, rows, self.total[rows] + part.total),
            count=_replaced(self.count, rows, self.count[rows] + part.count),
        )

    @classmethod
    def of(cls, x: Tensor, valid: Tensor) -> RunningPool:
        """Pool one piece: `x` (rows, time, width) where `valid` (rows, time) is True."""
        x = x.float()  # sums of many half-precision numbers overflow
        mask = valid[:, :, None]
        count = valid.sum(dim=1, keepdim=True).to(x.dtype)
        steps = torch.arange(x.shape[1], device=x.device)
        final = torch.where(valid, steps, -1).amax(dim=1).clamp(min=0)
        last = x.gather(1, final[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1) * (count > 0)
        maximum = x.masked_fill(~mask, torch.finfo(x.dtype).min).amax(dim=1)
        return cls(last=last, maximum=maximum, total=(x * mask).sum(dim=1), count=count)

    @classmethod
    def joined(cls, parts: Sequence[RunningPool]) -> RunningPool:
        """The rows of several, one after the other."""
        return cls(*(torch.cat(fields) for fields in zip(*map(RunningPool._fields, parts), strict=True)))

    @classmethod
    def in_turn(cls, parts: Sequence[RunningPool]) -> RunningPool:
        """Pools of the same documents, each of what comes after the one before, as one."""
        rows = len(parts[0].count)
        order = (
            torch.arange(len(parts) * rows, device=parts[0].count.device).view(len(parts), rows).T.flatten()
        )
        return cls.joined(parts).rows(order).by_group(order % rows, rows)

    def rows(self, order: Tensor) -> RunningPool:
        """Some rows, in this order."""
        return RunningPool(*(field[order] for field in self._fields()))

    def _fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.last, self.maximum, self.total, self.count

    def by_group(self, group: Tensor, groups: int) -> RunningPool:
        """Rows that are pieces of one document -> one row a document.

        Args:
            group: (rows,), the document of each piece; the pieces of one stand together, in their order.
            groups: how many documents there are; one without a piece is as one without a token.
        """
        width = self.total.shape[1]
        places = torch.arange(len(group), device=group.device)
        # Of each document the last piece with any token in it has its last token.
        held = torch.where(self.count[:, 0] > 0, places, -1)
        final = held.new_full((groups,), -1).scatter_reduce(0, group, held, "amax").clamp(min=0)
        lowest = self.maximum.new_full((groups, width), torch.finfo(self.maximum.dtype).min)
        return RunningPool(
            last=self.last[final]
            * (held.new_zeros(groups).index_add(0, group, (held >= 0).long()) > 0)[:, None],
            maximum=lowest.scatter_reduce(0, group[:, None].expand(-1, width), self.maximum, "amax"),
            total=self.total.new_zeros(groups, width).index_add(0, group, self.total),
            count=self.count.new_zeros(groups, 1).index_add(0, group, self.count),
        )

    def result(self, pooling: Pooling) -> Tensor:
        """The pooled vector: (batch, width), or (batch, 3 * width) for `concat` = [last, max, mean].

        Source of `concat`: ULMFiT (Howard & Ruder 2018), section 3.3. A row without any token gives zeros.
        """
        some = self.count > 0
        maximum = torch.where(some, self.maximum, torch.zeros_like(self.maximum))
        mean = self.total / self.count.clamp(min=1)
        match pooling:
            case "last":
                return self.last
            case "max":
                return maximum
            case "mean":
                return mean
            case "concat":
                return torch.cat([self.last, maximum, mean], dim=1)


def pool(x: Tensor, valid: Tensor, pooling: Pooling) -> Tensor:
    """Pool whole documents: `x` (batch, time, width) over `valid` (batch, time) -> (batch, width or 3 * width)."""
    return RunningPool.of(x, valid.bool()).result(pooling)


def _replaced(x: Tensor, rows: slice, values: Tensor) -> Tensor:
    start, stop, _ = rows.indices(x.shape[0])
    if start == 0 and stop == x.shape[0]:
        return values
    return torch.cat([x[:start], values, x[stop:]], dim=0)
