"""Models and texts that several tests of the language model use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.modeling import UlmfitForCausalLM

PAD = 1
LENGTHS = [9, 5, 1, 7]


@pytest.fixture
def language_model() -> Callable[..., UlmfitForCausalLM]:
    """Builds a model of random weights, the same at each call, large enough for differences to show."""

    def build(**options: Any) -> UlmfitForCausalLM:
        torch.manual_seed(0)
        config = UlmfitConfig(vocab_size=60, embedding_size=12, hidden_size=20, **options)
        model = UlmfitForCausalLM(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.4)
        return model

    return build


@pytest.fixture
def tokens() -> Callable[..., Tensor]:
    """Draws ids of ordinary words of the shape asked for, the same at each call."""

    def draw(*shape: int) -> Tensor:
        return torch.randint(9, 60, shape, generator=torch.Generator().manual_seed(1))

    return draw


@pytest.fixture
def padded_batch(tokens: Callable[..., Tensor]) -> tuple[Tensor, Tensor, list[int]]:
    """Four texts, padded beyond the longest: ids and mask, both (4, 12), and the texts' lengths."""
    mask = (torch.arange(max(LENGTHS) + 3) < torch.tensor(LENGTHS)[:, None]).long()
    return tokens(*mask.shape).masked_fill(mask == 0, PAD), mask, LENGTHS
