"""The GPT classifier: a head on the extract token (or pooled tokens), and the auxiliary language-model loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from nlptl import processes
from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.modeling import GptModel, GptPreTrainedModel
from nlptl.families.gpt.windows import MarkedWindows
from nlptl.families.windowed_classification import WindowedClassifier
from nlptl.nn.context_windows import in_parts
from nlptl.nn.dropout import dropout
from nlptl.nn.heads import build_head
from nlptl.nn.pooling import RunningPool
from nlptl.nn.sequences import row_lengths
from nlptl.nn.softmax import linear_cross_entropy


class GptForSequenceClassification(GptPreTrainedModel, WindowedClassifier):
    """Encoder and head (section 3.3).

    A text longer than the context is read in windows that overlap by half, each between a start and an extract token
    of its own; their vectors are averaged, so that nothing is cut.
    """

    causal = True
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\.", r"\.attn\.bias$"]
    # The linear layer of a native classifier has another name and no bias, which is 0 then.
    key_mapping = {r"^score\.": "head."}
    _keys_to_ignore_on_load_missing = [r"^head\.bias$"]

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Self:
        """As of `transformers`, and of a native classifier."""
        model: Self = super().from_pretrained(*args, key_mapping=cls.key_mapping, **kwargs)
        return model

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As of `transformers`, by our names."""
        super().save_pretrained(*args, **{**kwargs, "save_original_format": False})

    def __init__(self, config: GptConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.transformer = GptModel(config)
        self.head = build_head(
            config.head,
            config.n_embd if self.reads_tokens else config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
            layers=config.n_layer + 1,
        )
        self.post_init()

    def read_windows(self, input_ids: Tensor, valid: Tensor) -> list[Tensor]:
        """By the encoder, to which what follows a token is nothing."""
        return self.transformer.read(input_ids)

    def pair_marks(self) -> tuple[int | None, int, int]:
        """The delimiter, and the start and extract tokens where the tokenizer has them."""
        config = self.config
        head, tail = (int(mark is not None) for mark in (config.bos_token_id, config.extract_token_id))
        return config.delimiter_token_id, head, tail

    def pooled(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of texts, (batch, pooled width)."""
        return self._read(input_ids, lengths, learning=False)[0]

    def learn(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """What `represent` gives, and the weighted language-model loss of the texts (section 3.2, equation 5)."""
        if self.reads_tokens or not self.config.lm_weight:
            return self.represent(input_ids, attention_mask), None
        vector, loss = self._read(input_ids, row_lengths(input_ids, attention_mask), learning=True)
        return [vector], self.config.lm_weight * loss

    def _read(self, input_ids: Tensor, lengths: Tensor, *, learning: bool) -> tuple[Tensor, Tensor]:
        """Vectors of texts, (batch, pooled width), and where `learning` their language-model loss.

        Where pairs are symmetric, both orders are read, one below the other.
        """
        marked = MarkedWindows.of(*self.in_both_orders(input_ids, lengths), self.config)
        parts = in_parts(
            self.trained(marked.windows),
            lambda chosen, kept: self._read_windows(marked.chosen(chosen), learning=learning and kept),
        )
        pooling = "mean" if self.config.pooling == "extract" else self.config.pooling
        vectors = RunningPool.in_turn([part.pooled for part in parts]).result(pooling)
        vectors = self.orders_added(vectors, input_ids)
        vectors = dropout(vectors, self.config.classifier_dropout, self.training)
        losses = [part.loss for part in parts if part.loss is not None]
        return vectors, torch.stack(losses).sum() if losses else vectors.new_zeros(())

    def _read_windows(self, marked: MarkedWindows, *, learning: bool) -> _Read:
        config = self.config
        # The language-model loss is of the last block; features may be of one below it.
        feature_layer = -1 if config.feature_layer is None or not learning else config.feature_layer
        layers = None if learning else config.feature_layer
        states = self.transformer.read(marked.input_ids, layers, every=feature_layer >= 0)
        hidden = states[feature_layer]
        if config.pooling == "extract":
            final = (marked.lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, hidden.shape[2])
            pooled = RunningPool.of(hidden.gather(1, final), (marked.lengths > 0)[:, None])
        else:
            pooled = RunningPool.of(hidden, marked.owned)
        pooled = pooled.by_group(marked.windows.of_text, marked.windows.texts)
        return _Read(pooled, self._language_model_loss(states[-1], marked) if learning else None)

    def _language_model_loss(self, hidden: Tensor, marked: MarkedWindows) -> Tensor:
        """Cross entropy in nats: the mean over a text's tokens after its first, marks included; then over texts."""
        ids, of_text = marked.input_ids, marked.windows.of_text
        # A token in two windows counts once; a mark counts wherever it stands.
        counted = (marked.owned | marked.marks)[:, 1:]
        in_text = hidden.new_zeros(marked.windows.texts, dtype=torch.float32)
        in_text = in_text.index_add(0, of_text, counted.sum(dim=1).float())
        texts = (in_text > 0).sum().clamp(min=1)
        weights = (counted / (in_text[of_text].clamp(min=1) * texts)[:, None]).float()
        loss = linear_cross_entropy(
            hidden[:, :-1][counted],
            self.transformer.token_rows(),
            None,
            ids[:, 1:][counted],
            weights=weights[counted],
        )
        return processes.weighed(loss, (in_text > 0).sum())


@dataclass(frozen=True)
class _Read:
    """What was read of windows: their texts' pooled vectors, and a language-model loss where it was wanted."""

    pooled: RunningPool
    loss: Tensor | None
