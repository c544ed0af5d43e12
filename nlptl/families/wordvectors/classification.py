"""The classifier: the vectors of a text's words, pooled or read by a head of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils import ModelOutput

from nlptl.families.wordvectors.configuration import PAD, SEP, WordVectorsConfig
from nlptl.families.wordvectors.modeling import WordVectorsModel, WordVectorsPreTrainedModel
from nlptl.nn.classification_loss import classification_loss
from nlptl.nn.heads import build_head, head_penalty, head_scores
from nlptl.nn.pooling import RunningPool
from nlptl.nn.sequences import valid_lengths
from nlptl.training.models import LayeredClassifier


@dataclass
class WordVectorsClassifierOutput(ModelOutput):
    """What the classifier returns.

    Attributes:
        loss: mean over the batch; in training plus the penalty of a head that has one.
        logits: (batch, classes).
        hidden_states: only on request, as the table gives them.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class WordVectorsForSequenceClassification(WordVectorsPreTrainedModel, LayeredClassifier):
    """Table and head. Pooling leaves out the mark between a pair of texts."""

    def __init__(self, config: WordVectorsConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.encoder = WordVectorsModel(config)
        self.head = build_head(
            config.head,
            config.embedding_size if self.reads_tokens else config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
        )
        self.post_init()

    def heads(self) -> list[nn.Module]:
        """The one head."""
        return [self.head]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The table, then the head."""
        return [*self.encoder.layer_groups(), list(self.head.parameters())]

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """A head reads the last `max_trained_tokens` of a text."""
        return lengths.clamp(max=self.config.max_trained_tokens)

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """One entry: documents (batch, width), or the tokens that the head reads (batch, time, 1, width)."""
        full = input_ids.new_full((input_ids.shape[0],), input_ids.shape[1])
        lengths = full if attention_mask is None else valid_lengths(attention_mask)
        if self.reads_tokens:
            ids, valid = self._last_tokens(input_ids, lengths)
            return [(self._vectors(ids) * valid[:, :, None])[:, :, None]]
        return [self._pooled(input_ids, lengths)]

    def classify(self, vectors: list[Tensor], attention_mask: Tensor | None = None) -> Tensor:
        """What `represent` gives -> logits (batch, classes)."""
        (x,) = vectors
        return head_scores(self.head, x, self.token_mask(x, attention_mask)).float()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        class_weights: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> WordVectorsClassifierOutput | tuple[Any, ...]:
        """Classify documents of any length.

        Args:
            input_ids, attention_mask: (batch, time), padded on the right.
            labels: (batch,) class numbers, or (batch, classes) of zeros and ones for a multi-label problem.
            class_weights: as in `classification_loss`.
        """
        logits = self.classify(self.represent(input_ids, attention_mask), attention_mask)
        loss = None
        if labels is not None:
            loss = classification_loss(logits, labels, self.config.problem_type, class_weights)
            if self.training:
                loss = loss + head_penalty(self.head, loss)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = self.encoder(input_ids, output_hidden_states=True).hidden_states if wanted else None
        result = WordVectorsClassifierOutput(loss=loss, logits=logits, hidden_states=states)
        return result if return_dict is not False else result.to_tuple()

    def _vectors(self, ids: Tensor) -> Tensor:
        return F.dropout(self.encoder.embedding(ids), self.config.vector_dropout, self.training)

    def _last_tokens(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The last `max_trained_tokens` ids of each row, from the left on, and which of the places hold one."""
        kept = self.tokens_read(lengths)
        places = torch.arange(
            min(input_ids.shape[1], self.config.max_trained_tokens), device=input_ids.device
        )
        valid = places < kept[:, None]
        index = torch.where(valid, (lengths - kept)[:, None] + places, 0)
        return input_ids.gather(1, index).masked_fill(~valid, PAD), valid

    def _pooled(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, pooled width). Each row is cut at its own place, so that it learns alike in any company."""
        config, every = self.config, slice(None)
        pooled = RunningPool.empty(len(input_ids), config.embedding_size, self.encoder.embedding.weight)
        untrained = lengths - self.tokens_read(lengths)
        with torch.no_grad():
            for start in range(0, int(untrained.max()), config.max_trained_tokens):
                ids = input_ids[:, start : start + config.max_trained_tokens]
                places = torch.arange(start, start + ids.shape[1], device=ids.device)
                valid = (places < untrained[:, None]) & (ids != SEP)
                pooled = pooled.update(every, self._vectors(ids), valid)
        ids, valid = self._last_tokens(input_ids, lengths)
        return pooled.update(every, self._vectors(ids), valid & (ids != SEP)).result(config.pooling)
