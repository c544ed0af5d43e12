"""Documents longer than a model's context: windows that overlap by half, and the tokens that each speaks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


@dataclass(frozen=True)
class ContextWindows:
    """Windows of a batch of documents, in the order of the documents; a function of each document's length alone.

    A document that fits has one window. Windows of a longer one begin half a context apart. Every token belongs to one
    of the windows that hold it: for a causal model the first of them but for its second half, so that each token has at
    least half a context before it; for one that reads both ways the window in whose middle it lies.

    Attributes:
        of_text: (windows,), the row of each window's document.
        start: (windows,), the place of its first token in the document.
        from_end: (windows,), how many windows of the document come after it.
        valid: (windows, length), which of its places hold a token.
        owned: (windows, length), which of these tokens belong to it.
        texts: how many documents there are.
    """

    of_text: Tensor
    start: Tensor
    from_end: Tensor
    valid: Tensor
    owned: Tensor
    texts: int

    @classmethod
    def of(cls, lengths: Tensor, context: int, *, causal: bool) -> ContextWindows:
        """Cut documents.

        Args:
            lengths: (batch,), tokens of each document; one without any has a window without any.
            context: tokens of the longest window, two at least.
        """
        stride = max(1, context // 2)
        count = 1 + (lengths - context).clamp(min=0).add(stride - 1).div(stride, rounding_mode="floor")
        of_text = torch.arange(len(lengths), device=lengths.device).repeat_interleave(count)
        first = (count.cumsum(0) - count)[of_text]
        number = torch.arange(len(of_text), device=lengths.device) - first
        start, from_end = number * stride, count[of_text] - 1 - number
        left = (lengths[of_text] - start).clamp(max=context)
        places = torch.arange(max(1, int(left.max()) if len(left) else 1), device=lengths.device)
        overlap = context - stride
        border = (
            overlap if causal else overlap // 2
        )  # of the overlap with the window before, what is not owned
        since = torch.where(number > 0, border, 0)[:, None]
        until = torch.where(from_end > 0, stride + border, context)[:, None]
        valid = places < left[:, None]
        return cls(
            of_text=of_text,
            start=start,
            from_end=from_end,
            valid=valid,
            owned=valid & (places >= since) & (places < until),
            texts=len(lengths),
        )

    @property
    def lengths(self) -> Tensor:
        """Tokens of each window, (windows,)."""
        return self.valid.sum(dim=1)

    def chosen(self, which: Tensor) -> ContextWindows:
        """Some of the windows.

        Args:
            which: (windows,), True for those to keep.
        """
        return ContextWindows(
            of_text=self.of_text[which],
            start=self.start[which],
            from_end=self.from_end[which],
            valid=self.valid[which],
            owned=self.owned[which],
            texts=self.texts,
        )

    def cut(self, x: Tensor) -> Tensor:
        """What documents hold at each place (batch, time, ...) -> what windows do (windows, length, ...).

        Places after a window's last token hold what the document has at its place 0.
        """
        places = self.start[:, None] + torch.arange(self.valid.shape[1], device=x.device)
        return x[self.of_text[:, None], torch.where(self.valid, places, 0)]

    def beginnings(self, most: int) -> Tensor:
        """Where the last `most` windows of each document begin to speak for it, (batch,)."""
        read = self.chosen(self.from_end == most - 1)
        first = self.of_text.new_zeros(self.texts)
        return first.index_copy(0, read.of_text, read.start + read.owned.long().argmax(dim=1))

    def joined(self, x: Tensor, time: int, first: Tensor | None = None) -> Tensor:
        """Vectors of the windows' tokens (windows, length, ...) -> of the documents' (batch, time, ...), else zeros.

        Args:
            first: (batch,), the place of each document that comes first; by default 0. None is owned before it.
        """
        window, place = self.owned.nonzero(as_tuple=True)
        text, place_in_text = self.of_text[window], self.start[window] + place
        if first is not None:
            place_in_text = place_in_text - first[text]
        whole = x.new_zeros(self.texts, time, *x.shape[2:])
        return whole.index_put((text, place_in_text), x[window, place])


def in_parts(trained: Tensor, read: Callable[[Tensor, bool], Part]) -> list[Part]:
    """Read the windows that gradients do not flow through, without keeping anything for them, then those they do.

    Args:
        trained: (windows,), True for the latter, which end their documents.
        read: given which windows to read, (windows,), and whether to keep what gradients need.
    """
    parts = []
    for chosen, with_gradient in ((~trained, False), (trained, True)):
        if chosen.any():
            with torch.set_grad_enabled(torch.is_grad_enabled() and with_gradient):
                parts.append(read(chosen, with_gradient))
    return parts
