"""A model over many texts: results in the order of the input, whatever the batches were."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlptl.training.batching import Encoding
from nlptl.training.inference import class_probabilities, in_order, length_batches


class SumOfIds(nn.Module):
    """Logits (batch, 2) that tell which text they are of: the sum of its ids and minus that, tenfold smaller."""

    def __init__(self, problem_type: str | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=1, problem_type=problem_type, num_labels=2)
        self.device = torch.device("cpu")
        self.batches: list[tuple[int, int]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(tuple(input_ids.shape))
        total = (input_ids * attention_mask).sum(dim=1).float() / 10
        return SimpleNamespace(logits=torch.stack([total, -total], dim=1))


@pytest.fixture
def encodings() -> list[Encoding]:
    random = np.random.default_rng(0)
    texts = [random.integers(2, 9, length) for length in (3, 0, 7, 1, 7, 2, 5)]
    return [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in texts]


@pytest.mark.parametrize("most_rows", [1, 2, 3, 256])
def test_results_are_in_the_order_of_the_texts_whatever_the_batch_size(
    most_rows: int, encodings: list[Encoding]
) -> None:
    model: Any = SumOfIds().train()

    def sums(batch: dict[str, Tensor]) -> list[Tensor]:
        logits = model(**batch).logits
        return [logits[:, 0], logits]

    told: list[int] = []
    one, two = in_order(sums, model, encodings, "fp32", most_rows, on_rows=told.append)
    expected = np.array([encoding["input_ids"].sum() / 10 for encoding in encodings], dtype=np.float32)
    np.testing.assert_allclose(one, expected)
    np.testing.assert_allclose(two, np.stack([expected, -expected], axis=1))
    assert told == sorted(told)
    assert told[-1] == len(encodings)
    assert max(rows for rows, _ in model.batches) <= most_rows


def test_results_follow_the_texts_into_another_order(encodings: list[Encoding]) -> None:
    model: Any = SumOfIds()
    whole = class_probabilities(model, encodings, "fp32")
    turned = class_probabilities(model, encodings[::-1], "fp32")
    np.testing.assert_array_equal(turned[::-1], whole)


def test_batches_are_bounded_in_rows_and_padded_tokens_and_the_longest_is_first() -> None:
    lengths = [3, 90, 10, 10, 10, 10, 1, 200]
    encodings = [{"input_ids": np.zeros(length)} for length in lengths]
    batches = list(length_batches(encodings, most_rows=3, most_tokens=100))
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert batches[0] == [7], "a text longer than the bound goes alone"
    assert all(len(batch) <= 3 for batch in batches)
    assert all(len(batch) * max(lengths[row] for row in batch) <= 100 for batch in batches[1:])


def test_classes_exclude_each_other_unless_a_text_may_have_several(encodings: list[Encoding]) -> None:
    one: Any = SumOfIds()
    several: Any = SumOfIds("multi_label_classification")
    softmax, sigmoid = (class_probabilities(model, encodings, "fp32") for model in (one, several))
    total = np.array([encoding["input_ids"].sum() / 10 for encoding in encodings])
    np.testing.assert_allclose(softmax[:, 0], 1 / (1 + np.exp(-2 * total)), rtol=1e-6)
    np.testing.assert_allclose(sigmoid[:, 0], 1 / (1 + np.exp(-total)), rtol=1e-6)


def test_no_text_is_an_empty_table() -> None:
    model: Any = SumOfIds()
    assert class_probabilities(model, [], "fp32").shape == (0, 2)
