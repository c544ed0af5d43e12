"""A tiny classifier with any head, and texts of random ids for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.strategies.examples import Examples

TOKEN_HEAD = {"head": "bilstm-attention", "head_hidden_sizes": [6], "head_dropouts": [0.1, 0.1]}


@pytest.fixture
def build() -> Callable[..., UlmfitForSequenceClassification]:
    """Builds the same model at each call; `head="bilstm-attention"` on tokens of two layers, four wide."""

    def new(classes: int = 3, head: str = "linear", **options: Any) -> UlmfitForSequenceClassification:
        torch.manual_seed(0)
        sizes = {"vocab_size": 30, "embedding_size": 4, "hidden_size": 5, "num_layers": 2}
        of_head = TOKEN_HEAD if head == "bilstm-attention" else {"head": head}
        config = UlmfitConfig(**{**sizes, **of_head, **options}, num_labels=classes)
        return UlmfitForSequenceClassification(config).eval()

    return new


@pytest.fixture
def examples() -> Callable[..., Examples]:
    """Texts of 0 to 19 random ids."""

    def draw(count: int, labels: NDArray[Any] | None = None) -> Examples:
        random = np.random.default_rng(0)
        lengths = random.integers(1, 20, count)
        lengths[1:2] = 0
        texts = [random.integers(2, 30, length).astype(np.int32) for length in lengths]
        encodings = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in texts]
        return Examples(encodings, np.arange(count) % 3 if labels is None else labels)

    return draw
