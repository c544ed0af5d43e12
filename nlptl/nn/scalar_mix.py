"""A learned weighted mean of layers (Peters et al. 2018, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import initialization as init

MixNorm = Literal["none", "allennlp", "bilm-tf"]
_EPSILON = {"allennlp": 1e-13, "bilm-tf": 1e-12}


class ScalarMix(nn.Module):
    """`gamma * sum of softmax(weights)[l] * layer[l]`, the layers normalised beforehand or not.

    A model that holds one calls `reset_parameters` from its `_init_weights`.

    Args:
        layers: how many are mixed.
        layer_norm: one mean and one variance for all elements of a layer in the batch. AllenNLP takes them over the
            tokens with the sentences' boundaries, bilm-tf without. A token's vector then depends on its batch.
    """

    def __init__(self, layers: int, layer_norm: MixNorm = "none") -> None:
        super().__init__()
        self.layer_norm = layer_norm
        self.weights = nn.Parameter(torch.empty(layers))
        self.gamma = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """All layers count alike, as in the paper's code."""
        init.zeros_(self.weights)
        init.ones_(self.gamma)

    def penalty(self) -> Tensor:
        """The sum of squares of the weights before the softmax, for an L2 penalty (section 3.3)."""
        return self.weights.square().sum()

    def forward(self, layers: Sequence[Tensor], mask: Tensor, boundaries: Tensor | None = None) -> Tensor:
        """Mix.

        Args:
            layers: (batch, time, width) each, as many as at construction.
            mask: (batch, time), True for tokens, boundaries among them.
            boundaries: (batch, time), True where a sentence begins or ends; nowhere where it is None.

        Returns:
            (batch, time, width). What stands at padding is of no use.

        Raises:
            ValueError: another number of layers.
        """
        if len(layers) != len(self.weights):
            raise ValueError(f"{len(layers)} layers for a mix of {len(self.weights)}")
        if self.layer_norm != "none":
            counted = mask.bool()
            if self.layer_norm == "bilm-tf" and boundaries is not None:
                counted = counted & ~boundaries.bool()
            layers = [_normalised(layer, counted, _EPSILON[self.layer_norm]) for layer in layers]
        # The gain goes to the few weights, not to the many elements.
        shares = (self.weights.softmax(dim=0) * self.gamma).unbind()
        mixed = layers[0] * shares[0]
        for layer, share in zip(layers[1:], shares[1:], strict=True):
            mixed = torch.addcmul(mixed, layer, share)
        return mixed


def _normalised(layer: Tensor, counted: Tensor, epsilon: float) -> Tensor:
    """A layer less the mean of its `counted` elements, over their standard deviation."""
    mask = counted[..., None]
    elements = (counted.sum() * layer.shape[-1]).clamp(min=1)
    mean = (layer * mask).sum() / elements
    variance = ((layer - mean) * mask).square().sum() / elements
    return (layer - mean) / torch.sqrt(variance + epsilon)
