"""A classifier on the Transformer's encoder: documents of any length in windows, tokens pooled, a head on top."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlptl.families.classification import HeadedClassifier
from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.modeling import TransformerModel, TransformerPreTrainedModel
from nlptl.nn.context_windows import ContextWindows, in_parts
from nlptl.nn.heads import build_head
from nlptl.nn.pair_order import swapped_pair
from nlptl.nn.pooling import RunningPool
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import valid_lengths
from nlptl.nn.token_head import token_layers


class TransformerForSequenceClassification(TransformerPreTrainedModel, HeadedClassifier):
    """Encoder, pooling and a head; or a head that reads all layers of every token.

    A text longer than the context is read in windows that overlap by half; each token is pooled once.
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^lm_head\."]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.encoder = TransformerModel(config)
        self.head = build_head(
            config.head,
            config.width if self.reads_tokens else config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
            layers=config.num_encoder_layers + 1,
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ScalarMix):
            module.reset_parameters()
        else:
            super()._init_weights(module)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: embedding, each encoder block, head."""
        return [*self.encoder.layer_groups(), list(self.head.parameters())]

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """A head on tokens reads those of the windows that gradients flow through."""
        return lengths - self._windows(lengths).beginnings(self._trained_windows())

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """A text's vector (batch, width), or all layers of its tokens (batch, time, layers, width)."""
        lengths = input_ids.new_full((input_ids.shape[0],), input_ids.shape[1])
        if attention_mask is not None:
            lengths = valid_lengths(attention_mask)
        if self.reads_tokens:
            return [self._tokens(input_ids, lengths)]
        return [self._pooled(input_ids, lengths)]

    def encoder_states(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, ...]:
        """Of the texts, in windows where they are long."""
        states: tuple[Tensor, ...] = self.encoder(
            input_ids, attention_mask, output_hidden_states=True
        ).hidden_states
        return states

    def _windows(self, lengths: Tensor) -> ContextWindows:
        return ContextWindows.of(lengths, self.config.max_positions, causal=False)

    def _trained_windows(self) -> int:
        return max(1, self.config.max_trained_tokens // self.config.max_positions)

    def _pooled(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of texts, (batch, pooled width); where pairs are symmetric, both orders are read and added."""
        config, texts = self.config, len(input_ids)
        separator = config.sep_token_id if config.pair_symmetric else None
        if separator is not None:
            swapped = swapped_pair(input_ids, lengths, separator, head=1, tail=1)
            input_ids, lengths = torch.cat([input_ids, swapped]), lengths.repeat(2)
        windows = self._windows(lengths)
        learning = self.training and torch.is_grad_enabled()
        trained = (windows.from_end < self._trained_windows()) & learning

        def read(chosen: Tensor, kept: bool) -> RunningPool:
            part = windows.chosen(chosen)
            states = self.encoder.read(part.cut(input_ids), part.valid, config.feature_layer)
            return RunningPool.of(states[-1], part.owned).by_group(part.of_text, part.texts)

        vectors = RunningPool.in_turn(in_parts(trained, read)).result(config.pooling)
        if separator is not None:
            paired = (input_ids[:texts] == separator).any(dim=1, keepdim=True)
            vectors = vectors[:texts] + vectors[texts:] * paired
        return F.dropout(vectors, config.classifier_dropout, self.training)

    def _tokens(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """All layers of the tokens that a head reads, (batch, time, layers, width), from the first of them on."""
        windows, most = self._windows(lengths), self._trained_windows()
        first, read = windows.beginnings(most), windows.chosen(windows.from_end < most)
        states = self.encoder.read(read.cut(input_ids), read.valid)
        return read.joined(token_layers(states), max(1, int((lengths - first).max())), first)
