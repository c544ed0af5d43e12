"""N-grams beside a network: what they learn, and how much they are let count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nlptl.nn.ngrams import SPELLED, NgramScores
from nlptl.strategies.class_weights import balanced_weights
from nlptl.strategies.examples import Examples
from nlptl.strategies.ngrams import fit_ngrams, learned_from_all
from nlptl.training.batching import padded
from nlptl.training.progress import Reporter


def examples(texts: list[list[int]], labels: NDArray[Any]) -> Examples:
    encodings = [
        {"input_ids": np.array(text, dtype=np.int64), "attention_mask": np.ones(len(text), dtype=np.int64)}
        for text in texts
    ]
    return Examples(encodings, labels)


def by_order(count: int, seed: int) -> Examples:
    """Class 1 says "1 2", class 0 "2 1", among other tokens: single tokens say nothing."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    texts = []
    for label in labels:
        text = random.integers(3, 30, random.integers(2, 9)).tolist()
        place = int(random.integers(0, len(text)))
        texts.append([*text[:place], *((1, 2) if label else (2, 1)), *text[place:]])
    return examples(texts, labels)


def fit(train: Examples, validation: Examples, logits: NDArray[np.float32], **values: Any) -> NgramScores:
    asked: dict[str, Any] = {"longest": 2, "spelling": None, "class_weights": None, "seed": 0, **values}
    return fit_ngrams(train, validation, logits, **asked, reporter=Reporter(quiet=True))[0]


def scored(scores: NgramScores, part: Examples, longest: int = 2, *, several: bool = False) -> NDArray[Any]:
    found = scores(**padded(part.encodings, 0), longest=longest, several=several)
    return found.numpy()


def none(part: Examples, classes: int = 2) -> NDArray[np.float32]:
    """Logits of a network that knows nothing."""
    return np.zeros((len(part), classes), dtype=np.float32)


def sure(part: Examples, classes: int = 2) -> NDArray[np.float32]:
    """Logits of one that knows all."""
    return (4 * np.eye(classes)[part.labels]).astype(np.float32)


def test_longer_runs_say_what_single_tokens_do_not() -> None:
    train, validation, test = by_order(300, 0), by_order(60, 1), by_order(200, 2)
    right = {
        longest: (
            scored(fit(train, validation, none(validation), longest=longest), test, longest).argmax(axis=1)
            == test.labels
        ).mean()
        for longest in (1, 2)
    }
    assert right[1] < 0.65
    assert right[2] > 0.95


def test_who_knows_counts() -> None:
    """The network where it alone knows, n-grams where they alone do."""
    train, validation = by_order(300, 0), by_order(60, 1)
    network, ngrams = fit(train, validation, none(validation)).shares
    assert ngrams > 1
    network, ngrams = fit(train, validation, sure(validation), longest=1).shares
    assert network > 1
    assert ngrams < 0.5


def test_in_the_end_the_validation_texts_are_learned_from_as_well() -> None:
    train, validation = by_order(100, 0), by_order(60, 1)
    for encoding in validation.encodings:  # what they say is said in other words
        ids = encoding["input_ids"]
        ids[ids < 3] += 40
    asked: dict[str, Any] = {"longest": 2, "class_weights": None}
    settled, _, candidate = fit_ngrams(
        train, validation, none(validation), spelling=None, seed=0, reporter=Reporter(quiet=True), **asked
    )
    parts = (train, validation)
    final = learned_from_all(settled, candidate, parts, **asked)
    for part in parts:
        assert (scored(final, part).argmax(axis=1) == part.labels).mean() > 0.95
    assert (scored(settled, validation).argmax(axis=1) == validation.labels).mean() < 0.7
    assert final.shares.tolist() == settled.shares.tolist()


def test_few_validation_texts_leave_both_about_their_half() -> None:
    train, validation = by_order(100, 0), by_order(2, 1)
    shares = fit(train, validation, -sure(validation)).shares  # by which the network would be worth nothing
    assert 0 < shares[0] < 0.5


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_without_training_texts_is_never_said(classes: int) -> None:
    train, validation = by_order(100, 0), by_order(20, 1)
    found = fit(train, validation, none(validation, classes + 1))
    assert (scored(found, validation).argmax(axis=1) < 2).all()


def test_several_labels_have_a_regression_each() -> None:
    train, validation = by_order(300, 0), by_order(60, 1)
    parts = [
        examples(
            [e["input_ids"].tolist() for e in part.encodings], np.stack([part.labels, 1 - part.labels], 1)
        )
        for part in (train, validation)
    ]
    odds = scored(fit(*parts, none(validation)), parts[1], several=True)
    assert ((odds > 0) == (parts[1].labels == 1)).mean() > 0.95


def test_weights_of_classes_count() -> None:
    """Of two classes that nothing tells apart the rare one is not passed over when it weighs as much."""
    random = np.random.default_rng(0)
    parts = [
        examples([random.integers(1, 5, 4).tolist() for _ in range(count)], (random.random(count) < 0.1) * 1)
        for count in (300, 100)
    ]
    weights = balanced_weights(parts[0].labels, 2)
    plain, balanced = (
        scored(fit(*parts, none(parts[1]), class_weights=each), parts[1])[:, 1].mean()
        for each in (None, weights)
    )
    assert np.exp(plain) < 0.2
    assert 0.35 < np.exp(balanced) < 0.65


def test_the_most_frequent_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlptl.strategies.ngrams.MOST_NGRAMS", 2)
    train, validation = by_order(100, 0), by_order(20, 1)
    found = fit(train, validation, none(validation), longest=1)
    keys = NgramScores(2, 2)
    keys.keys = found.keys
    _, places, _ = keys.features(torch.tensor([[1, 2]]), torch.tensor([2]), 1)
    assert places.tolist() == [0, 1]  # every text has both


def test_texts_in_large_batches_and_small_ones_have_the_same_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = by_order(100, 0), by_order(20, 1)
    once = fit(train, validation, none(validation))
    monkeypatch.setattr("nlptl.strategies.ngrams.TOKENS_AT_ONCE", 16)
    again = fit(train, validation, none(validation))
    for name in ("keys", "rarity", "weight", "bias", "shares"):
        torch.testing.assert_close(getattr(once, name), getattr(again, name))


def test_pieces_of_words_say_what_whole_words_do_not() -> None:
    """Every token is new, and its last letter tells the class."""
    random = np.random.default_rng(0)
    spelling = torch.from_numpy(random.integers(97, 117, (400, SPELLED)).astype(np.int64))
    spelling[:, 5:] = 0
    labels = random.integers(0, 2, 400)
    spelling[:, 4] = torch.from_numpy(np.where(labels == 1, ord("y"), ord("z")))
    parts = [
        examples([[token] for token in range(start, stop)], labels[start:stop])
        for start, stop in ((0, 250), (250, 300), (300, 400))
    ]
    right = {
        known: (
            scored(fit(*parts[:2], none(parts[1]), longest=1, spelling=known), parts[2], 1).argmax(axis=1)
            == parts[2].labels
        ).mean()
        for known in (None, spelling)
    }
    assert right[None] < 0.7
    assert right[spelling] > 0.9


def test_texts_without_tokens_have_no_ngrams() -> None:
    empty = examples([[], []], np.array([0, 1]))
    assert len(fit(empty, empty, none(empty)).keys) == 0
