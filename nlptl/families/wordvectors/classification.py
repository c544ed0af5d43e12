"""The classifier: the vectors of a text's words, pooled or read by a head of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from nlptl.families.classification import HeadedClassifier
from nlptl.families.wordvectors.configuration import PAD, SEP, WordVectorsConfig
from nlptl.families.wordvectors.modeling import WordVectorsModel, WordVectorsPreTrainedModel
from nlptl.families.wordvectors.pooling import equal_weights, text_weights
from nlptl.nn.dropout import dropout
from nlptl.nn.heads import build_head
from nlptl.nn.pooling import RunningPool
from nlptl.nn.sequences import row_lengths


class WordVectorsForSequenceClassification(WordVectorsPreTrainedModel, HeadedClassifier):
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

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """A head reads the last `max_trained_tokens` of a text."""
        return lengths.clamp(max=self.config.max_trained_tokens)

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """One entry: documents (batch, width), or the tokens that the head reads (batch, time, 1, width)."""
        lengths = row_lengths(input_ids, attention_mask)
        if self.reads_tokens:
            ids, valid = self._last_tokens(input_ids, lengths)
            return [(self._vectors(ids) * valid[:, :, None])[:, :, None]]
        if self.config.pooling == "sif":
            return [self._weighted(input_ids, lengths)]
        return [self._pooled(input_ids, lengths)]

    def _weighted(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, 2 * width): sums of vectors by weight, without a vector a token, so that any length fits."""
        table, places = (
            self.encoder.embedding.weight,
            torch.arange(input_ids.shape[1], device=input_ids.device),
        )
        valid = (places < lengths[:, None]) & (input_ids != SEP)
        weights = (text_weights(input_ids, valid, self.config.vocab_size), equal_weights(valid))
        vectors = [
            embedding_bag(input_ids, table, per_sample_weights=each.to(table.dtype), mode="sum")
            for each in weights
        ]
        return dropout(torch.cat(vectors, dim=1), self.config.vector_dropout, self.training)

    def _vectors(self, ids: Tensor) -> Tensor:
        return dropout(self.encoder.embedding(ids), self.config.vector_dropout, self.training)

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
        assert config.pooling != "sif"
        pooled = RunningPool.empty(len(input_ids), config.embedding_size, self.encoder.embedding.weight)
        untrained = lengths - self.tokens_read(lengths)
        with torch.no_grad():
            for start in range(0, int(untrained.max()), config.max_trained_tokens):
                ids = input_ids[:, start : start + config.max_trained_tokens]
                places = torch.arange(start, start + ids.shape[1], device=ids.device)
                valid = (places < untrained[:, None]) & (ids != SEP)
                pooled = pooled.update(every, [self._vectors(ids)], valid)
        ids, valid = self._last_tokens(input_ids, lengths)
        return pooled.update(every, [self._vectors(ids)], valid & (ids != SEP)).result(config.pooling)
