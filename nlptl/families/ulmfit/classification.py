"""The ULMFiT classifier: documents of any length, chunk by chunk (BPT3C), pooled, and a head on top."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.modeling import State, UlmfitModel, UlmfitPreTrainedModel
from nlptl.nn.dropout import locked_dropout
from nlptl.nn.heads import build_head
from nlptl.nn.pooling import RunningPool
from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty
from nlptl.nn.sequences import reverse_valid, valid_lengths
from nlptl.training.models import LayeredClassifier


@dataclass
class UlmfitClassifierOutput(ModelOutput):
    """What the classifier returns.

    Attributes:
        loss: mean over the batch; in training plus the AR and TAR penalties of the encoder.
        logits: (batch, classes). Of two directions: the log of their averaged probabilities.
        hidden_states: only on request, as the (forward) encoder gives them.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class UlmfitForSequenceClassification(UlmfitPreTrainedModel, LayeredClassifier):
    """Encoder, concat pooling, head; with `config.bidirectional` a second, backward pair beside it."""

    def __init__(self, config: UlmfitConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.encoder = UlmfitModel(config)
        self.head = self._build_head()
        if config.bidirectional:
            backward_config = copy.deepcopy(config)
            backward_config.direction = "backward"
            self.backward_encoder = UlmfitModel(backward_config)
            self.backward_head = self._build_head()
        self.post_init()

    def _build_head(self) -> nn.Module:
        config = self.config
        return build_head(
            config.head,
            config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
        )

    def directions(self) -> list[tuple[UlmfitModel, nn.Module]]:
        """Each encoder with its head."""
        pairs = [(self.encoder, self.head)]
        if self.config.bidirectional:
            pairs.append((self.backward_encoder, self.backward_head))
        return pairs

    def heads(self) -> list[nn.Module]:
        """One for each vector of `represent`."""
        return [head for _, head in self.directions()]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: embedding, each LSTM, head; both directions side by side."""
        stacks = [[*encoder.layer_groups(), list(head.parameters())] for encoder, head in self.directions()]
        return [[p for group in level for p in group] for level in zip(*stacks, strict=True)]

    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """Each direction's vector of every document: (batch, pooled width), the input of that direction's head."""
        return [
            self._read_document(encoder, input_ids, attention_mask)[0] for encoder, _ in self.directions()
        ]

    def classify(self, vectors: list[Tensor]) -> Tensor:
        """Document vectors, one a direction -> logits (batch, classes)."""
        return self._averaged(
            [head(x).float() for (_, head), x in zip(self.directions(), vectors, strict=True)]
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        class_weights: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> UlmfitClassifierOutput | tuple[Any, ...]:
        """Classify documents of any length.

        Args:
            input_ids, attention_mask: (batch, time), padded on the right.
            labels: (batch,) class numbers, or (batch, classes) of zeros and ones for a multi-label problem.
            class_weights: (classes,), how much an example of each class counts in the loss; of a multi-label problem,
                how much more those texts count that have the label than those that do not.
        """
        scores, penalties = [], []
        for encoder, head in self.directions():
            vector, penalty = self._read_document(encoder, input_ids, attention_mask)
            scores.append(head(vector).float())
            penalties.append(penalty)
        loss = None
        if labels is not None:
            # Each direction is trained on its own loss; only their predictions are averaged.
            losses = [self._loss(score, labels, class_weights) for score in scores]
            loss = torch.stack([*losses, *penalties]).sum()
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = (
            self.encoder(input_ids, attention_mask, output_hidden_states=True).hidden_states
            if wanted
            else None
        )
        result = UlmfitClassifierOutput(loss=loss, logits=self._averaged(scores), hidden_states=states)
        return result if return_dict is not False else result.to_tuple()

    def _averaged(self, scores: list[Tensor]) -> Tensor:
        if len(scores) == 1:
            return scores[0]
        if self.config.problem_type == "multi_label_classification":
            return torch.logit(torch.stack([x.sigmoid() for x in scores]).mean(dim=0), eps=1e-7)
        return torch.stack([x.log_softmax(dim=1) for x in scores]).logsumexp(dim=0) - math.log(len(scores))

    def _loss(self, scores: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        if self.config.problem_type == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(scores, labels.float(), pos_weight=class_weights)
        return F.cross_entropy(scores, labels, weight=class_weights)

    def _read_document(
        self, encoder: UlmfitModel, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Documents (batch, time) -> pooled vectors (batch, pooled width), and the AR and TAR penalty.

        Chunks start at each document's own beginning and rows that have ended are left out, so that a document's
        vector depends on nothing but the document.
        """
        config, batch = self.config, input_ids.shape[0]
        full = input_ids.new_full((batch,), input_ids.shape[1])
        lengths = full if attention_mask is None else valid_lengths(attention_mask)
        if encoder.config.direction == "backward":
            input_ids = reverse_valid(input_ids, lengths)
        lengths, order = lengths.sort(descending=True, stable=True)
        input_ids = input_ids[order]
        reach = lengths.tolist()
        pooled_tokens = sum(min(length, config.max_pooled_tokens) for length in reach)
        recompute = (
            self.training and torch.is_grad_enabled() and self._kept_tokens(reach) > config.max_kept_tokens
        )

        pooled = RunningPool.empty(batch, config.embedding_size, encoder.embedding.weight)
        penalty, state = pooled.total.new_zeros(()), None
        for start in range(0, max(reach, default=0), config.chunk_length):
            active = sum(length > start for length in reach)
            chunk = _Chunk(
                ids=input_ids[:active, start : min(start + config.chunk_length, reach[0])],
                left=lengths[:active] - start,
                state=None if state is None else tuple((h[:, :active], c[:, :active]) for h, c in state),
            )
            is_pooled = any(length - start <= config.max_pooled_tokens for length in reach[:active])
            if recompute and is_pooled:
                step = checkpoint(self._read_chunk, encoder, chunk, pooled, use_reentrant=False)
            else:
                with torch.set_grad_enabled(torch.is_grad_enabled() and is_pooled):
                    step = self._read_chunk(encoder, chunk, pooled)
            pooled, chunk_penalty, state = step
            penalty = penalty + chunk_penalty
            state = tuple((h.detach(), c.detach()) for h, c in state)
        vectors = pooled.result(config.pooling)
        return vectors[order.argsort()], penalty / max(1, pooled_tokens)

    def _kept_tokens(self, reach: Sequence[int]) -> int:
        """Tokens whose activations the backward pass needs: of every row of a chunk in which any row is pooled."""
        config, total = self.config, 0
        for start in range(0, max(reach, default=0), config.chunk_length):
            left = [length - start for length in reach if length > start]
            if min(left) <= config.max_pooled_tokens:
                total += len(left) * min(config.chunk_length, max(left))
        return total

    def _read_chunk(
        self, encoder: UlmfitModel, chunk: _Chunk, pooled: RunningPool
    ) -> tuple[RunningPool, Tensor, State]:
        config = self.config
        hidden_states, state = encoder.read(chunk.ids, chunk.state)
        raw = hidden_states[-1]
        steps = torch.arange(raw.shape[1], device=raw.device)
        in_window = chunk.left <= config.max_pooled_tokens
        valid = (steps < chunk.left[:, None]) & in_window[:, None]
        pooled = pooled.update(slice(0, raw.shape[0]), raw, valid)
        penalty = pooled.total.new_zeros(())
        if self.training and torch.is_grad_enabled():
            dropped = locked_dropout(raw, config.output_dropout, True)
            penalty = config.activation_penalty * activation_penalty(dropped, valid)
            penalty = penalty + config.temporal_activation_penalty * temporal_activation_penalty(raw, valid)
            penalty = penalty * valid.sum()
        return pooled, penalty, state


@dataclass(frozen=True)
class _Chunk:
    """The next tokens of the documents that have any left: ids (rows, time), tokens left (rows,), state."""

    ids: Tensor
    left: Tensor
    state: State | None
