"""Documents as the windows that a GPT classifier reads: each with the start and extract tokens of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlptl.families.gpt.configuration import GptConfig
from nlptl.nn.context_windows import ContextWindows


@dataclass(frozen=True)
class MarkedWindows:
    """Windows of a batch of texts whose marks are their first and last tokens.

    Attributes:
        windows: of what lies between the marks.
        input_ids: (windows, length), start and extract tokens put around each as they are around its text.
        lengths: (windows,), tokens of each, marks included.
        owned: (windows, length), the tokens that this window speaks for, marks excluded.
        marks: (windows, length), its start and extract tokens.
    """

    windows: ContextWindows
    input_ids: Tensor
    lengths: Tensor
    owned: Tensor
    marks: Tensor

    @classmethod
    def of(cls, input_ids: Tensor, lengths: Tensor, config: GptConfig) -> MarkedWindows:
        """Cut texts.

        Args:
            input_ids: (batch, time), padded on the right.
            lengths: (batch,), tokens of each text.
        """
        last = (lengths - 1).clamp(min=0)[:, None]
        start, extract = config.bos_token_id, config.extract_token_id
        begun = _marked(input_ids[:, 0], start) & (lengths > 0)
        ended = _marked(input_ids.gather(1, last)[:, 0], extract) & (lengths > 1)
        inner = lengths - begun.long() - ended.long()
        context = config.n_positions - int(start is not None) - int(extract is not None)
        windows = ContextWindows.of(inner, context, causal=True)

        head, tail, held = begun[windows.of_text].long(), ended[windows.of_text].long(), windows.lengths
        longest = int((head + held + tail).max()) if len(held) else 1
        place = (
            torch.arange(max(1, longest), device=input_ids.device) - head[:, None]
        )  # among what is between marks
        between = (place >= 0) & (place < held[:, None])
        source = (windows.start + head)[:, None] + place
        ids = input_ids[windows.of_text[:, None], torch.where(between, source, 0)]
        after = (place == held[:, None]) & (tail > 0)[:, None]
        ids = ids.masked_fill(after, extract or 0)
        owned = between & windows.owned.gather(1, place.clamp(0, windows.owned.shape[1] - 1))
        marks = after | (place < 0)
        return cls(windows, ids, head + held + tail, owned, marks)

    def chosen(self, which: Tensor) -> MarkedWindows:
        """Some of the windows, (windows,) True for those to keep."""
        return MarkedWindows(
            self.windows.chosen(which),
            self.input_ids[which],
            self.lengths[which],
            self.owned[which],
            self.marks[which],
        )


def _marked(ids: Tensor, mark: int | None) -> Tensor:
    """Which of these are the mark."""
    return torch.zeros_like(ids, dtype=torch.bool) if mark is None else ids == mark
