"""A forecast of memory is drawn from two small batches, and holds for a large one."""

import pytest
import torch

from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.configuration import GptConfig
from nlptl.training.memory import training_memory_mb
from nlptl.training.runs import peak_memory_mb


def batch(rows: int) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.ones(rows, 32, dtype=torch.int64),
        "labels": torch.zeros(rows, dtype=torch.int64),
    }


def forecast(rows: int) -> float:
    model = GptForSequenceClassification(
        GptConfig(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    )
    return training_memory_mb(model, batch, rows, "fp32") - peak_memory_mb(torch.device("cpu"))


def test_what_a_large_batch_keeps_follows_from_two_small_ones() -> None:
    # Each of two blocks keeps about 4 + 4 x 4 vectors of width 32 a token, in fp32, beside masks and normalisations.
    tokens = 1000 * 32
    expected = 2 * 20 * 32 * 4 * tokens / 2**20
    assert forecast(2000) - forecast(1000) == pytest.approx(expected, rel=0.4)


def test_a_tiny_batch_still_needs_gradients_and_moments() -> None:
    model = GptForSequenceClassification(GptConfig(vocab_size=50000, n_embd=32, n_layer=1, n_head=1))
    weights = sum(p.nbytes for p in model.parameters()) / 2**20
    needed = training_memory_mb(model, batch, 1, "fp32") - peak_memory_mb(torch.device("cpu"))
    assert needed == pytest.approx(3 * weights, rel=0.01)
