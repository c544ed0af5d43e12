"""Batches of similar length: every text once an epoch, the same for the same seed, and padding that adds nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.training.batching import BATCHES_SORTED_TOGETHER, LengthBuckets, padded


@settings(deadline=None, max_examples=200)
@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=300),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_every_text_comes_once_an_epoch_in_full_batches(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    buckets = LengthBuckets(lengths, batch_size, seed)
    batches = list(buckets)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == len(buckets)
    assert max(map(len, batches)) <= batch_size + 1
    if batch_size > 1 and len(lengths) > 1:
        assert min(map(len, batches)) > 1, "a row alone has no variance to normalise by"
    assert max(lengths) in [lengths[row] for row in batches[0]], "what fits least comes first"


def test_an_epoch_is_a_function_of_the_seed_and_its_number() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 200).tolist()
    buckets, same, other = (LengthBuckets(lengths, 8, seed) for seed in (1, 1, 2))
    first = list(buckets)
    assert first == list(buckets) == list(same)
    assert first != list(other)
    buckets.set_epoch(1)
    second = list(buckets)
    assert second != first
    same.set_epoch(1)
    assert list(same) == second
    buckets.set_epoch(0)
    assert list(buckets) == first


def test_texts_of_similar_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 8 * BATCHES_SORTED_TOGETHER)
    batches = list(LengthBuckets(lengths.tolist(), 8, seed=0))
    tokens_with_padding = sum(len(batch) * max(lengths[batch]) for batch in batches)
    assert tokens_with_padding < 1.05 * lengths.sum()  # in shuffled batches it is about 1.8
    assert batches[1:] != sorted(batches[1:], key=lambda batch: -max(lengths[batch])), "the order is shuffled"


def test_padding_is_on_the_right_and_masked() -> None:
    rows = [
        {"input_ids": np.array([5, 6, 7]), "attention_mask": np.ones(3, dtype=np.int32)},
        {"input_ids": np.array([8]), "attention_mask": np.ones(1, dtype=np.int32)},
        {"input_ids": np.array([], dtype=np.int32), "attention_mask": np.array([], dtype=np.int32)},
    ]
    batch = padded(rows, pad_token_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1], [1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_characters_of_tokens_are_padded_along_time_only() -> None:
    rows = [{"input_ids": np.full((length, 50), length)} for length in (2, 1)]
    batch = padded(rows, pad_token_id=0)["input_ids"]
    assert batch.shape == (2, 2, 50)
    assert batch[:, :, 0].tolist() == [[2, 2], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([np.int64(1), np.int64(0)], torch.int64), ([np.float32([0, 1]), np.float32([1, 1])], torch.float32)],
)
def test_labels_are_stacked_as_they_are(labels: list[np.ndarray], kind: torch.dtype) -> None:
    rows = [{"input_ids": np.array([3]), "labels": label} for label in labels]
    found = padded(rows, pad_token_id=1)["labels"]
    assert found.dtype == kind
    assert found.tolist() == [label.tolist() for label in labels]
