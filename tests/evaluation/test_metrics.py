from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from nlptl.errors import DataError, RunFailed
from nlptl.evaluation.metrics import classification_metrics, format_headline

NAMES = ["sport", "world", "science", "never seen"]
KEYS = ["examples", "accuracy", "accuracy_interval", "macro_f1", "mcc", "log_loss", "ece", "per_class"]
PER_CLASS = ["precision", "recall", "f1", "support"]


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    # Absent classes are ordinary; a user must not read scikit-learn's warnings about them.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def predictions(rows: int = 300) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Four classes, of which the last is neither true nor predicted."""
    rng = np.random.default_rng(1)
    labels = rng.choice(3, size=rows, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(rows, 4)) + 2 * np.eye(4)[labels]
    logits[:, 3] = -20
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_figures_equal_scikit_learn() -> None:
    labels, probabilities = predictions()
    predicted = probabilities.argmax(axis=1)
    figures = classification_metrics(labels, probabilities, NAMES)

    assert list(figures) == [*KEYS, "confusion_matrix"]
    assert figures["examples"] == 300
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert figures["mcc"] == pytest.approx(sklearn_metrics.matthews_corrcoef(labels, predicted))
    reference_loss = sklearn_metrics.log_loss(labels, probabilities, labels=range(4))
    assert figures["log_loss"] == pytest.approx(reference_loss)
    matrix = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(4))
    assert figures["confusion_matrix"] == {"labels": NAMES, "counts": matrix.tolist()}
    reference = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(4), zero_division=0
    )
    assert list(figures["per_class"]) == NAMES
    for name, *expected in zip(NAMES, *reference, strict=True):
        assert list(figures["per_class"][name]) == PER_CLASS
        assert list(figures["per_class"][name].values()) == pytest.approx(expected)
    assert figures["per_class"]["never seen"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_two_classes_have_a_roc_auc_of_the_second() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    second = np.array([0.2, 0.6, 0.5, 0.7, 0.9])
    figures = classification_metrics(labels, np.stack([1 - second, second], axis=1), ["neg", "pos"])
    # Of the 6 pairs of a negative and a positive, one (0.6 against 0.5) is in the wrong order.
    assert figures["roc_auc"] == pytest.approx(5 / 6)


def test_one_class_in_the_rows_leaves_roc_auc_null_and_mcc_zero() -> None:
    figures = classification_metrics([1, 1], [[0.4, 0.6], [0.1, 0.9]], ["neg", "pos"])
    assert figures["roc_auc"] is None
    assert figures["mcc"] == 0
    assert figures["macro_f1"] == 1  # a class that is neither true nor predicted does not pull it down
    assert figures["accuracy_interval"][1] == 1


def test_calibration_error_is_the_mean_gap_of_fifteen_bins() -> None:
    labels, probabilities = predictions()
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    gaps = 0.0
    for edge in range(15):
        inside = (top > edge / 15) & (top <= (edge + 1) / 15)
        if inside.any():
            gaps += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert classification_metrics(labels, probabilities, NAMES)["ece"] == pytest.approx(gaps)


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    loss = classification_metrics([0], [[0.0, 1.0]], ["a", "b"])["log_loss"]
    assert loss == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_multi_label_figures_equal_scikit_learn_label_by_label(classes: int) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, size=(200, classes))
    scores = np.clip(0.35 * labels + 0.7 * rng.random((200, classes)), 0, 1)
    predicted = scores >= 0.5
    names = [str(c) for c in range(classes)]
    figures = classification_metrics(labels, scores, names, multi_label=True)

    assert list(figures) == [*KEYS, "confusion_matrix"]  # and no roc_auc, with two labels either
    assert figures["confusion_matrix"] is None
    assert figures["accuracy"] == pytest.approx(np.mean((predicted == labels).all(axis=1)))
    columns = list(zip(labels.T, predicted.T, scores.T, strict=True))
    f1 = [sklearn_metrics.f1_score(t, p) for t, p, _ in columns]
    assert [each["f1"] for each in figures["per_class"].values()] == pytest.approx(f1)
    assert figures["macro_f1"] == pytest.approx(np.mean(f1))
    mcc = [sklearn_metrics.matthews_corrcoef(t, p) for t, p, _ in columns]
    assert figures["mcc"] == pytest.approx(np.mean(mcc))
    loss = [sklearn_metrics.log_loss(t, s) for t, _, s in columns]
    assert figures["log_loss"] == pytest.approx(np.mean(loss))


def test_figures_survive_json_unchanged() -> None:
    labels, probabilities = predictions()
    figures = classification_metrics(labels, probabilities.astype(np.float32), NAMES)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_no_rows_are_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="no labelled rows"):
        classification_metrics([], np.empty((0, 2)), ["a", "b"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.7])
def test_what_is_no_probability_is_reported_with_its_row(bad: float) -> None:
    probabilities = np.full((5, 2), 0.5)
    probabilities[3, 1] = bad
    with pytest.raises(RunFailed, match="class 1 of row 3"):
        classification_metrics([0, 1, 0, 1, 0], probabilities, ["a", "b"])


def test_labels_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(DataError, match="row 1"):
        classification_metrics([0, 2], [[0.5, 0.5], [0.5, 0.5]], ["a", "b"])
    with pytest.raises(DataError, match="do not fit 3 classes"):
        classification_metrics([0, 1], [[0.5, 0.5], [0.5, 0.5]], ["a", "b", "c"])


def test_headline() -> None:
    figures = {"accuracy": 0.912, "accuracy_interval": [0.884, 0.9338], "examples": 12500, "macro_f1": 0.873}
    one_label = figures | {"confusion_matrix": {"labels": [], "counts": []}}
    assert format_headline(one_label) == (
        "accuracy 0.912 (95 % 0.884 to 0.934) on 12,500 examples, macro-F1 0.873"
    )
    assert format_headline(figures | {"confusion_matrix": None}).startswith("exact-match accuracy 0.912")
    assert " on 1 example," in format_headline(one_label | {"examples": 1})
