"""Figures of random and of degenerate cases, each beside scikit-learn's or beside its definition counted out."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from nlptl.evaluation.metrics import classification_metrics

KINDS = (
    "ordinary",
    "with ties",
    "certain",
    "one class predicted",
    "a class without rows",
    "one class in the rows",
)


def case(kind: str, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels (rows,) and probabilities (rows, classes)."""
    draw = np.random.default_rng([KINDS.index(kind), seed])
    rows, classes = int(draw.integers(1, 60)), int(draw.integers(2, 7))
    labels = draw.integers(0, classes, size=rows)
    logits = draw.normal(size=(rows, classes)) * draw.uniform(0.3, 3) + 1.5 * np.eye(classes)[labels]
    if kind == "certain":
        logits *= 1000
    elif kind == "one class predicted":
        logits[:, -1] += 100
    elif kind == "a class without rows":
        labels = np.minimum(labels, classes - 2)
    elif kind == "one class in the rows":
        labels[:] = 1
    elif kind == "with ties":
        logits = np.round(logits)
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    return labels, likely / likely.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_a_random_case(kind: str, seed: int) -> None:
    labels, probabilities = case(kind, seed)
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    names = [f"class {number}" for number in range(classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = classification_metrics(labels, probabilities, names)

    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    f1 = reference.f1_score(labels, predicted, average="macro", zero_division=0)
    assert figures["macro_f1"] == pytest.approx(f1)
    assert figures["mcc"] == pytest.approx(counted_mcc(labels, predicted, classes))
    assert figures["ece"] == pytest.approx(counted_calibration_error(labels, probabilities))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, of rows that do not sum to 1 to the last bit
        loss = reference.log_loss(labels, probabilities, labels=range(classes))
    assert figures["log_loss"] == pytest.approx(loss)
    parts = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=0
    )
    for name, *expected in zip(names, *parts, strict=True):
        assert list(figures["per_class"][name].values()) == pytest.approx(expected)
    counts = reference.confusion_matrix(labels, predicted, labels=range(classes))
    assert figures["confusion_matrix"]["counts"] == counts.tolist()
    if classes == 2:
        assert figures["roc_auc"] == counted_roc_auc(labels, probabilities[:, 1])
    else:
        assert "roc_auc" not in figures


@pytest.mark.parametrize("seed", range(8))
def test_roc_auc_counts_a_tie_as_half(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels, second = draw.integers(0, 2, size=40), draw.integers(0, 6, size=40) / 5
    figures = classification_metrics(labels, np.stack([1 - second, second], axis=1), ["neg", "pos"])
    assert figures["roc_auc"] == counted_roc_auc(labels, second)
    assert figures["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, second))


@pytest.mark.parametrize("kind", ["no label at all", "all labels", "none predicted", "random"])
def test_multi_label_figures_of_degenerate_cases(kind: str) -> None:
    draw = np.random.default_rng(4)
    labels, scores = draw.integers(0, 2, size=(30, 3)), draw.random((30, 3))
    if kind == "no label at all":
        labels[:] = 0
    elif kind == "all labels":
        labels[:] = 1
    elif kind == "none predicted":
        scores *= 0.4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = classification_metrics(labels, scores, ["a", "b", "c"], multi_label=True)
    predicted = (scores >= 0.5).astype(int)
    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    f1 = reference.f1_score(labels, predicted, average="macro", zero_division=0)
    assert figures["macro_f1"] == pytest.approx(f1)
    each = [counted_mcc(t, p, 2) for t, p in zip(labels.T, predicted.T, strict=True)]
    assert figures["mcc"] == pytest.approx(np.mean(each))
    losses = -(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))
    assert figures["log_loss"] == pytest.approx(losses.mean())


# --- definitions, counted out


def counted_mcc(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> float:
    """Gorodkin 2004, equation 8; 0 where it is 0/0."""
    right = sum(int(t == p) for t, p in zip(truth, predicted, strict=True))
    rows = len(truth)
    true = [int((truth == number).sum()) for number in range(classes)]
    said = [int((predicted == number).sum()) for number in range(classes)]
    above = right * rows - sum(t * p for t, p in zip(true, said, strict=True))
    below = (rows**2 - sum(p * p for p in said)) * (rows**2 - sum(t * t for t in true))
    return above / math.sqrt(below) if below else 0.0


def counted_calibration_error(truth: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Row by row into fifteen lists, and their gaps by their shares."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for label, row in zip(truth, probabilities, strict=True):
        confidence = float(row.max())
        number = next(edge for edge in range(15) if confidence * 15 <= edge + 1 or edge == 14)
        bins[number].append((confidence, int(row.argmax()) == label))
    gaps = [abs(sum(c for c, _ in each) - sum(r for _, r in each)) for each in bins]
    return sum(gaps) / len(truth)


def counted_roc_auc(truth: NDArray[Any], scores: NDArray[Any]) -> Any:
    """The share of pairs of a positive and a negative row in which the positive one has more; None without pairs."""
    positive, negative = scores[truth == 1], scores[truth == 0]
    pairs = [(p > n) + (p == n) / 2 for p, n in itertools.product(positive, negative)]
    return pytest.approx(sum(pairs) / len(pairs)) if pairs else None
