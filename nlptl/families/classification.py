"""What the classifiers of most families are: one encoder, one head on what it says of a text or of its tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from nlptl.nn.classification_loss import classification_loss
from nlptl.nn.heads import head_penalty, head_scores
from nlptl.training.models import LayeredClassifier, LayeredModel


class HeadedClassifier(LayeredClassifier):
    """A classifier with one head, `self.head`, which `nn.heads.build_head` made, on its base model."""

    head: nn.Module

    def heads(self) -> list[nn.Module]:
        """The head."""
        return [self.head]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: those of the encoder's groups, then the head."""
        encoder = self.base_model
        assert isinstance(encoder, LayeredModel)
        return [*encoder.layer_groups(), list(self.head.parameters())]

    def classify(self, vectors: list[Tensor], attention_mask: Tensor | None = None) -> Tensor:
        """What `represent` gives -> logits (batch, classes)."""
        (vector,) = vectors
        scores = head_scores(self.head, vector, self.token_mask(vector, attention_mask)).float()
        return self.calibrated(scores)

    def learn(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """In training: what `represent` gives, and what is added to the loss, a scalar, if anything is."""
        return self.represent(input_ids, attention_mask), None

    def present(self, input_ids: Tensor) -> Tensor | None:
        """The `attention_mask` where none is given; None for all tokens."""
        return None

    def encoder_states(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, ...]:
        """Every layer's output for whole texts."""
        output = self.base_model(input_ids, attention_mask, output_hidden_states=True)
        states: tuple[Tensor, ...] = output.hidden_states
        return states

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        class_weights: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify documents of any length.

        The loss is the mean over the batch; in training plus what the family's recipe and its head add. The hidden
        states are those of the encoder.

        Args:
            input_ids: (batch, time, ...), padded on the right.
            attention_mask: (batch, time), 1 for a token; without it all are, but where ids themselves tell.
            labels: (batch,) class numbers, or (batch, classes) of zeros and ones for a multi-label problem.
            class_weights: as in `classification_loss`.
        """
        if attention_mask is None:
            attention_mask = self.present(input_ids)
        added = None
        if self.training and labels is not None:
            vectors, added = self.learn(input_ids, attention_mask)
        else:
            vectors = self.represent(input_ids, attention_mask)
        logits = self.with_ngrams(self.classify(vectors, attention_mask), input_ids, attention_mask)
        loss = None
        if labels is not None:
            loss = classification_loss(logits, labels, self.config.problem_type, class_weights)
            if self.training:
                loss = loss + head_penalty(self.head, loss)
            if added is not None:
                loss = loss + added
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = self.encoder_states(input_ids, attention_mask) if wanted else None
        result = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states)
        return result if return_dict is not False else result.to_tuple()
