"""What training needs of a model beyond `transformers`: its layers, and a classifier's body apart from its heads."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from nlptl.nn.ngrams import NgramScores
from nlptl.nn.sequences import valid_lengths


class LayeredModel(PreTrainedModel):
    """A model that knows its layers."""

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top, each exactly once, the head last."""


class LayeredClassifier(LayeredModel):
    """A classifier whose `forward` is `classify` after `represent`, so that a frozen body is run once.

    Beside both there may be scores by n-grams: `config.ngrams` of up to `config.longest_ngram` tokens, and of the
    characters of `config.spelled_tokens`.
    """

    ngrams: NgramScores | None

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        classes = int(config.num_labels or 0)
        self.ngrams = NgramScores(config.ngrams, classes, config.spelled_tokens) if config.ngrams else None

    @property
    def reads_tokens(self) -> bool:
        """Whether the heads read the vectors of a text's tokens, and not one vector of the whole text."""
        kind: str = self.config.head
        return kind == "bilstm-attention"

    @abstractmethod
    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """Each head's input: (batch, width) of documents, or of their tokens (batch, time, layers, width).

        Token vectors lie in the order of the text, the first `tokens_read` places of each row; the others are zeros.
        """

    @abstractmethod
    def classify(self, vectors: list[Tensor], attention_mask: Tensor | None = None) -> Tensor:
        """What `represent` gives -> logits (batch, classes).

        Args:
            attention_mask: the one that `represent` was given. Only heads that read tokens need it; without it all
                places hold tokens.
        """

    def calibrated(self, logits: Tensor) -> Tensor:
        """Logits (batch, classes) as probabilities are made of them: those of evaluation divided by the temperature.

        A model holds it, and not what reads a model, so that a softmax or sigmoid by anyone gives the same
        probabilities. Training learns from the logits as they are.
        """
        return logits if self.training else logits / self.config.calibration_temperature

    def with_ngrams(self, logits: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """What `classify` gives -> the model's logits, (batch, classes): n-grams, too, have no part in training."""
        if self.training or self.ngrams is None:
            return logits
        config = self.config
        several = config.problem_type == "multi_label_classification"
        scores = self.ngrams(input_ids, attention_mask, config.longest_ngram, several=several)
        model, ngrams = self.ngrams.shares
        both: Tensor = model * logits + ngrams * (scores / config.calibration_temperature)
        return both

    @abstractmethod
    def heads(self) -> list[nn.Module]:
        """One for each vector of `represent`."""

    def tokens_read(self, lengths: Tensor) -> Tensor:
        """How many tokens a head reads of documents of these lengths, (batch,); a family may bound it."""
        return lengths

    def token_mask(self, vectors: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """Which places of a head's input hold a token, (batch, time); None where all do, or one vector is a document.

        Args:
            vectors, attention_mask: as `classify` takes them.
        """
        if attention_mask is None or not self.reads_tokens:
            return None
        places = torch.arange(vectors.shape[1], device=vectors.device)
        return places < self.tokens_read(valid_lengths(attention_mask))[:, None]
