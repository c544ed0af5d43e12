"""The ULMFiT classifier: documents of any length, chunk by chunk (BPT3C); a head on pooled vectors or on tokens'."""

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

from nlptl import processes
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.modeling import State, UlmfitModel, UlmfitPreTrainedModel
from nlptl.nn.classification_loss import classification_loss
from nlptl.nn.dropout import locked_dropout
from nlptl.nn.heads import build_head, head_penalty, head_scores
from nlptl.nn.pooling import RunningPool
from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import reverse_valid, row_lengths
from nlptl.nn.token_head import token_layers
from nlptl.nn.token_pieces import TokenPieces
from nlptl.nn.weight_drop import WeightDroppedLSTM
from nlptl.training.models import LayeredClassifier

Gathered = RunningPool | TokenPieces


@dataclass
class UlmfitClassifierOutput(ModelOutput):
    """What the classifier returns.

    Attributes:
        loss: mean over the batch; in training plus the AR and TAR penalties of the encoder and that of the head.
        logits: (batch, classes). Of two directions: the log of their averaged probabilities.
        hidden_states: only on request, as the (forward) encoder gives them.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class UlmfitForSequenceClassification(UlmfitPreTrainedModel, LayeredClassifier):
    """Encoder, pooling, head, or encoder and a head on its tokens; with `config.bidirectional` a second, backward
    pair beside it.
    """

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

    @property
    def tokens_at_once(self) -> int:
        """Of a batch without gradients. Recurrent products want rows, and of what is read only a pool is kept."""
        return 8192 if self.reads_tokens else 2**20

    def _build_head(self) -> nn.Module:
        config = self.config
        return build_head(
            config.head,
            config.embedding_size if self.reads_tokens else config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
            layers=config.mixed_layers(),
        )

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ScalarMix):
            module.reset_parameters()
        else:
            super()._init_weights(module)

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
        """Each direction's input of its head: (batch, pooled width), or (batch, tokens read, mixed layers, width)."""
        return [
            self._read_document(encoder, input_ids, attention_mask)[0] for encoder, _ in self.directions()
        ]

    def classify(self, vectors: list[Tensor], attention_mask: Tensor | None = None) -> Tensor:
        """What `represent` gives, one a direction -> logits (batch, classes)."""
        pairs = zip(self.heads(), vectors, strict=True)
        return self.calibrated(self._averaged([self._scores(head, x, attention_mask) for head, x in pairs]))

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """Without the whole chunks that start more than `max_pooled_tokens` before the end (in reading order)."""
        chunk = self.config.chunk_length
        beyond = (lengths - self.config.max_pooled_tokens).clamp(min=0)
        return lengths - (beyond + chunk - 1) // chunk * chunk

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
            vectors, penalty = self._read_document(encoder, input_ids, attention_mask)
            scores.append(self._scores(head, vectors, attention_mask))
            penalties.append(penalty + head_penalty(head, penalty) if self.training else penalty)
        loss = None
        if labels is not None:
            # Each direction is trained on its own loss; only their predictions are averaged.
            problem = self.config.problem_type
            losses = [classification_loss(score, labels, problem, class_weights) for score in scores]
            loss = torch.stack([*losses, *penalties]).sum()
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = (
            self.encoder(input_ids, attention_mask, output_hidden_states=True).hidden_states
            if wanted
            else None
        )
        # What is calibrated is what is predicted by: the average, not each direction.
        logits = self.calibrated(self._averaged(scores))
        logits = self.with_ngrams(logits, input_ids, attention_mask)
        result = UlmfitClassifierOutput(loss=loss, logits=logits, hidden_states=states)
        return result if return_dict is not False else result.to_tuple()

    def _scores(self, head: nn.Module, vectors: Tensor, attention_mask: Tensor | None) -> Tensor:
        return head_scores(head, vectors, self.token_mask(vectors, attention_mask)).float()

    def _averaged(self, scores: list[Tensor]) -> Tensor:
        if len(scores) == 1:
            return scores[0]
        if self.config.problem_type == "multi_label_classification":
            return torch.logit(torch.stack([x.sigmoid() for x in scores]).mean(dim=0), eps=1e-7)
        return torch.stack([x.log_softmax(dim=1) for x in scores]).logsumexp(dim=0) - math.log(len(scores))

    def _read_document(
        self, encoder: UlmfitModel, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Documents (batch, time) -> what the head reads of them, and the AR and TAR penalty.

        Chunks start at each document's own beginning and rows that have ended are left out, so that a document's
        vectors depend on nothing but the document.
        """
        config, batch = self.config, input_ids.shape[0]
        lengths = row_lengths(input_ids, attention_mask)
        if encoder.config.direction == "backward":
            input_ids = reverse_valid(input_ids, lengths)
        lengths, order = lengths.sort(descending=True, stable=True)
        # Each word is looked up once, and all chunks see the same dropped words and weights.
        words, places = input_ids[order].unique(return_inverse=True)
        embedded, lstms = encoder.embed(words), encoder.draw()
        reach = lengths.tolist()
        pooled_tokens = sum(min(length, config.max_pooled_tokens) for length in reach)
        recompute = (
            self.training and torch.is_grad_enabled() and self._kept_tokens(reach) > config.max_kept_tokens
        )

        gathered: Gathered = RunningPool.empty(batch, config.token_width(), encoder.embedding.weight)
        if self.reads_tokens:
            gathered = TokenPieces.empty(
                batch, config.mixed_layers(), config.embedding_size, encoder.embedding.weight
            )
        penalty, state = encoder.embedding.weight.new_zeros(()), None
        factors = self._temporal_factors(reach, input_ids.device)
        for start, factor in zip(self._chunk_starts(reach), factors, strict=True):
            active = sum(length > start for length in reach)
            chunk = _Chunk(
                words=embedded,
                places=places[:active, start : min(start + config.chunk_length, reach[0])],
                left=lengths[:active] - start,
                temporal_factor=factor,
                state=None if state is None else tuple((h[:, :active], c[:, :active]) for h, c in state),
            )
            is_pooled = any(length - start <= config.max_pooled_tokens for length in reach[:active])
            if recompute and is_pooled:
                step = checkpoint(self._read_chunk, encoder, lstms, chunk, gathered, use_reentrant=False)
            else:
                with torch.set_grad_enabled(torch.is_grad_enabled() and is_pooled):
                    step = self._read_chunk(encoder, lstms, chunk, gathered)
            gathered, chunk_penalty, state = step
            penalty = penalty + chunk_penalty
            state = tuple((h.detach(), c.detach()) for h, c in state)
        if isinstance(gathered, RunningPool):
            vectors = gathered.result(config.pooling)
        else:
            vectors = gathered.result()
            if encoder.config.direction == "backward":  # back into the order of the text
                vectors = reverse_valid(vectors.flatten(2), gathered.count).view_as(vectors)
        return vectors[order.argsort()], processes.weighed(penalty / max(1, pooled_tokens), pooled_tokens)

    def _chunk_starts(self, reach: Sequence[int]) -> range:
        return range(0, max(reach, default=0), self.config.chunk_length)

    def _temporal_factors(self, reach: Sequence[int], device: torch.device) -> list[float]:
        """Of each chunk, what its temporal penalty is multiplied by; 1 but for a batch that processes share.

        The penalty is a mean over neighbouring tokens and counts for as many tokens as are pooled: of the documents
        here the two are in another proportion than of all documents.
        """
        config, starts = self.config, self._chunk_starts(reach)
        if not (self.training and processes.in_batch()):
            return [1.0] * len(starts)
        own = torch.zeros(processes.most(len(starts)), 2, dtype=torch.float64, device=device)
        for number, start in enumerate(starts):
            left = [length - start for length in reach if 0 < length - start <= config.max_pooled_tokens]
            read = [min(tokens, config.chunk_length) for tokens in left]
            own[number] = torch.tensor([sum(read), sum(read) - len(read)])
        whole = processes.batch_total(own * processes.counts())
        factors = (whole[:, 0] / whole[:, 1].clamp(min=1)) * (own[:, 1] / own[:, 0].clamp(min=1))
        return factors[: len(starts)].tolist()

    def _kept_tokens(self, reach: Sequence[int]) -> int:
        """Tokens whose activations the backward pass needs: of every row of a chunk in which any row is pooled."""
        config, total = self.config, 0
        for start in self._chunk_starts(reach):
            left = [length - start for length in reach if length > start]
            if min(left) <= config.max_pooled_tokens:
                total += len(left) * min(config.chunk_length, max(left))
        return total

    def _read_chunk(
        self, encoder: UlmfitModel, lstms: Sequence[WeightDroppedLSTM], chunk: _Chunk, gathered: Gathered
    ) -> tuple[Gathered, Tensor, State]:
        config = self.config
        hidden_states, state = encoder.read(F.embedding(chunk.places, chunk.words), chunk.state, drawn=lstms)
        raw = hidden_states[-1]
        steps = torch.arange(raw.shape[1], device=raw.device)
        in_window = chunk.left <= config.max_pooled_tokens
        valid = (steps < chunk.left[:, None]) & in_window[:, None]
        rows = slice(0, raw.shape[0])
        if isinstance(gathered, RunningPool):
            read = hidden_states if config.layers == "all" else [raw]
            gathered = gathered.update(rows, read, valid)
        else:
            gathered = gathered.update(rows, token_layers(hidden_states), valid)
        penalty = encoder.embedding.weight.new_zeros(())
        if self.training and torch.is_grad_enabled():
            dropped = locked_dropout(raw, config.output_dropout, True)
            penalty = config.activation_penalty * activation_penalty(dropped, valid)
            temporal = config.temporal_activation_penalty * temporal_activation_penalty(raw, valid)
            penalty = (penalty + temporal * chunk.temporal_factor) * valid.sum()
        return gathered, penalty, state


@dataclass(frozen=True)
class _Chunk:
    """The next tokens of the documents that have any left: where their words stand, tokens left (rows,), state.

    Attributes:
        words: (words of the batch, embedding size). places: (rows, time), which of them each token is.
        temporal_factor: of `_temporal_factors`.
    """

    words: Tensor
    places: Tensor
    left: Tensor
    temporal_factor: float
    state: State | None
