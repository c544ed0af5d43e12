"""A classifier on a biLM: documents of any length in pieces, layers mixed, words pooled, and a head on top."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from nlptl.families.classification import HeadedClassifier
from nlptl.families.elmo.characters import boundaries
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.modeling import ElmoModel, ElmoPreTrainedModel
from nlptl.families.elmo.pieces import Pieces
from nlptl.nn.dropout import locked_dropout
from nlptl.nn.heads import build_head
from nlptl.nn.pooling import RunningPool
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.token_head import token_layers

Part = TypeVar("Part")


class ElmoForSequenceClassification(ElmoPreTrainedModel, HeadedClassifier):
    """Encoder, a scalar mix of its layers, pooling and a head; or a head that reads the layers of every word.

    A text longer than `config.segment_length` words is read in pieces of that length, each from a zero state, so that
    memory and the reach of its recurrence are bounded; a text's vector depends on the text alone.
    """

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.encoder = ElmoModel(config)
        layers, width = config.num_layers + 1, config.token_width()
        if not self.reads_tokens:
            if config.layers == "mix":
                self.mix = ScalarMix(layers, config.layer_norm)
            width *= layers if config.layers == "all" else 1
            width *= 3 if config.pooling == "concat" else 1
        self.head = build_head(
            config.head,
            width,
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
            layers=layers,
        )
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: characters, each LSTM layer (the mix with the top one), head."""
        *lower, top = self.encoder.layer_groups()
        mix = list(self.mix.parameters()) if hasattr(self, "mix") else []
        return [*lower, [*top, *mix], list(self.head.parameters())]

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """A head on words reads the pieces at a text's end that hold `max_trained_tokens`."""
        length = self.config.segment_length
        beyond = (lengths + length - 1) // length - self._trained_pieces()
        return lengths - beyond.clamp(min=0) * length

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """A text's vector (batch, width), or all layers of its words (batch, words, layers, width)."""
        if attention_mask is None:
            attention_mask = self.present(input_ids)
        pieces = Pieces.of(input_ids, attention_mask, self.config.segment_length)
        if self.reads_tokens:
            return [self._words(pieces)]
        return [self._pooled(pieces)]

    def learn(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """What `represent` gives, and the penalty on the weights of the mix."""
        penalty = self.config.mix_penalty * self.mix.penalty() if hasattr(self, "mix") else None
        return self.represent(input_ids, attention_mask), penalty

    def present(self, input_ids: Tensor) -> Tensor:
        """Characters 0 are no word."""
        return (input_ids[..., 0] != 0).long()

    def _trained(self, pieces: Pieces) -> Tensor:
        """Which pieces gradients flow through, (pieces,): of each text the last that hold so many words."""
        if not (self.training and torch.is_grad_enabled()):
            return torch.zeros_like(pieces.of_text, dtype=torch.bool)
        return pieces.from_end < self._trained_pieces()

    def _trained_pieces(self) -> int:
        return -(-self.config.max_trained_tokens // self.config.segment_length)

    def _in_parts(self, pieces: Pieces, read: Callable[[Tensor, Tensor], Part]) -> tuple[list[Part], Tensor]:
        """`read` the characters and mask of the pieces without gradients, and of those with.

        Returns:
            Its results, and the order that puts their rows, one after the other, into the order of the pieces.
        """
        trained = self._trained(pieces)
        results, places = [], []
        for chosen, with_gradient in ((~trained, False), (trained, True)):
            if chosen.any():
                with torch.set_grad_enabled(torch.is_grad_enabled() and with_gradient):
                    results.append(read(pieces.input_ids[chosen], pieces.mask[chosen]))
                places.append(chosen.nonzero().squeeze(1))
        return results, torch.cat(places).argsort()

    def _states(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """All layers of the words of some pieces, each (pieces, words, width)."""
        output = self.encoder(input_ids, mask, use_cache=False, output_hidden_states=True)
        states: tuple[Tensor, ...] = output.hidden_states
        return states

    def _pooled(self, pieces: Pieces) -> Tensor:
        """Documents' vectors, (batch, width), over the pieces of each."""

        def read(input_ids: Tensor, mask: Tensor) -> RunningPool:
            x = self._combined(self._states(input_ids, mask), input_ids, mask.bool())
            # One mask for all words of a piece: the maximum of words dropped one by one would be another's.
            x = locked_dropout(x, self.config.vector_dropout, self.training)
            return RunningPool.of(x, mask.bool())

        parts, order = self._in_parts(pieces, read)
        pooled = RunningPool.joined(parts).rows(order)
        return pooled.by_group(pieces.of_text, pieces.texts).result(self.config.pooling)

    def _combined(self, states: tuple[Tensor, ...], input_ids: Tensor, valid: Tensor) -> Tensor:
        """Layers -> one vector a word."""
        match self.config.layers:
            case "mix":
                mixed: Tensor = self.mix(list(states), valid, boundaries(input_ids))
                return mixed
            case "all":
                return torch.cat(states, dim=2)
            case "last":
                return states[-1]

    def _words(self, pieces: Pieces) -> Tensor:
        """All layers of the words that a head reads, (batch, words, layers, width)."""
        pieces = pieces.last(self._trained_pieces())
        return pieces.joined(token_layers(self._states(pieces.input_ids, pieces.mask)))
