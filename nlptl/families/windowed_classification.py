"""Classifiers whose encoder reads so many tokens at once: documents of any length in windows that overlap by half."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nlptl.families.classification import HeadedClassifier
from nlptl.nn.context_windows import ContextWindows
from nlptl.nn.pair_order import swapped_pair
from nlptl.nn.sequences import row_lengths
from nlptl.nn.token_head import token_layers


class WindowedClassifier(HeadedClassifier):
    """A head on the pooled windows of a text, or on all layers of its tokens.

    Its config says how long a window is (`max_position_embeddings`), through how much of a text's end gradients flow
    (`max_trained_tokens`) and whether both orders of a pair are read (`pair_symmetric`).
    """

    causal: ClassVar[bool]
    """Whether the encoder reads forward alone."""

    @property
    def tokens_at_once(self) -> int:
        """Of a batch without gradients: enough for products at full speed, for which a GPU takes more."""
        return 2048 if self.device.type == "cpu" else 16384

    @abstractmethod
    def pooled(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of texts, (batch, pooled width)."""

    @abstractmethod
    def read_windows(self, input_ids: Tensor, valid: Tensor) -> list[Tensor]:
        """All layers of the encoder on windows (windows, length), `valid` where they hold a token."""

    @abstractmethod
    def pair_marks(self) -> tuple[int | None, int, int]:
        """The token between a pair, if there is one, and how many marks stand before and after a pair."""

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """A text's vector (batch, width), or all layers of its tokens (batch, time, layers, width)."""
        lengths = row_lengths(input_ids, attention_mask)
        return [self._tokens(input_ids, lengths) if self.reads_tokens else self.pooled(input_ids, lengths)]

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """A head on tokens reads those of the windows that gradients flow through."""
        return lengths - self.windows(lengths).beginnings(self._trained_windows())

    def windows(self, lengths: Tensor) -> ContextWindows:
        """Of texts of these lengths, (batch,)."""
        return ContextWindows.of(lengths, self.config.max_position_embeddings, causal=self.causal)

    def trained(self, windows: ContextWindows) -> Tensor:
        """Which windows gradients flow through, (windows,): of each text the last that hold so many tokens."""
        if not (self.training and torch.is_grad_enabled()):
            return torch.zeros_like(windows.of_text, dtype=torch.bool)
        return windows.from_end < self._trained_windows()

    def in_both_orders(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Where pairs are symmetric, the texts and below them the same with each pair the other way round."""
        separator, head, tail = self.pair_marks()
        if separator is None or not self.config.pair_symmetric:
            return input_ids, lengths
        swapped = swapped_pair(input_ids, lengths, separator, head=head, tail=tail)
        return torch.cat([input_ids, swapped]), lengths.repeat(2)

    def orders_added(self, vectors: Tensor, input_ids: Tensor) -> Tensor:
        """Vectors of what `in_both_orders` gave -> of the texts `input_ids`: of a pair the sum of both."""
        texts, separator = len(input_ids), self.pair_marks()[0]
        if separator is None or len(vectors) == texts:
            return vectors
        paired = input_ids.eq(separator).any(dim=1, keepdim=True)
        return vectors[:texts] + vectors[texts:] * paired

    def _tokens(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """All layers of the tokens that a head reads, (batch, time, layers, width), from the first of them on."""
        windows, most = self.windows(lengths), self._trained_windows()
        first, read = windows.beginnings(most), windows.chosen(windows.from_end < most)
        states = self.read_windows(read.cut(input_ids), read.valid)
        return read.joined(token_layers(states), max(1, int((lengths - first).max())), first)

    def _trained_windows(self) -> int:
        trained, context = self.config.max_trained_tokens, self.config.max_position_embeddings
        return max(1, int(trained) // int(context))
