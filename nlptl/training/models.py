"""What training needs of a model beyond `transformers`: its layers, and a classifier's body apart from its heads."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from transformers import PreTrainedModel


class LayeredModel(PreTrainedModel):
    """A model that knows its layers."""

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top, each exactly once, the head last."""


class LayeredClassifier(LayeredModel):
    """A classifier whose `forward` is `classify` after `represent`, so that a frozen body is run once."""

    @abstractmethod
    def represent(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """Each head's input for every document, (batch, width) each."""

    @abstractmethod
    def classify(self, vectors: list[Tensor]) -> Tensor:
        """What `represent` gives -> logits (batch, classes)."""

    @abstractmethod
    def heads(self) -> list[nn.Module]:
        """One for each vector of `represent`."""
