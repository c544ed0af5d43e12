"""Predictions -> figures, with intervals: what a classifier is worth on one set of labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sklearn_metrics

from nlptl.errors import DataError, RunFailed
from nlptl.evaluation.intervals import wilson_interval

CALIBRATION_BINS = 15
# Half-precision softmax may leave a probability this far outside 0..1; more means that logits came in.
_PROBABILITY_TOLERANCE = 1e-2


def classification_metrics(
    labels: ArrayLike, probabilities: ArrayLike, label_names: Sequence[str], *, multi_label: bool = False
) -> dict[str, Any]:
    """The figures of one classifier on one set of rows, as plain Python numbers that `json` can write.

    Args:
        labels: (rows,) class ids; with `multi_label`, (rows, classes) of 0 and 1.
        probabilities: (rows, classes), each row a distribution; with `multi_label`, one Bernoulli a class.
        label_names: (classes,) in the order of the columns, each name once.

    Returns:
        `examples`, the number of rows;
        `accuracy` and `accuracy_interval`, its 95 % Wilson score interval;
        `macro_f1`, the mean over the classes that occur in the truth or in the predictions;
        `mcc`, Matthews' correlation coefficient in its multi-class form (0 where it is undefined);
        `log_loss`, nats a row, with probabilities kept at or above the float64 epsilon;
        `ece`, the expected calibration error (see `calibration_error`);
        `roc_auc`, for two classes only: that of the second class, None where the rows hold just one of them;
        `per_class`, precision, recall, F1 and support of every class, 0 where a ratio is 0/0;
        `confusion_matrix`, whose `counts[i][j]` are rows of true class i predicted as class j.

        With `multi_label` a class is predicted where its probability is at least 0.5; accuracy is that
        of the exact set of labels, macro F1 and MCC are means over all classes, the log loss is the mean
        over rows and classes of the binary one, the calibration error is over all decisions (a row and a
        class each, with the probability of what was decided), there is no `roc_auc`, and
        `confusion_matrix` is None.

    Raises:
        DataError: there are no rows, or labels, probabilities and names do not fit together.
        RunFailed: a probability is not a number between 0 and 1.
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    _check(truth, scores, len(label_names), multi_label)
    truth = truth.astype(np.int64)

    confusion: dict[str, Any] | None = None
    if multi_label:
        predicted = (scores >= 0.5).astype(np.int64)
        right = predicted == truth
        hits, of_decision = right.all(axis=1), np.maximum(scores, 1 - scores)
        of_truth = np.where(truth == 1, scores, 1 - scores)
        true_positives, chosen, support = (truth * predicted).sum(0), predicted.sum(0), truth.sum(0)
        averaged = np.ones(len(label_names), dtype=bool)
        mcc = float(np.mean([_matthews(t, p) for t, p in zip(truth.T, predicted.T, strict=True)]))
    else:
        predicted = scores.argmax(axis=1)
        hits = right = predicted == truth
        of_decision, of_truth = scores.max(axis=1), scores[np.arange(len(truth)), truth]
        matrix = np.zeros((len(label_names), len(label_names)), dtype=np.int64)
        np.add.at(matrix, (truth, predicted), 1)
        confusion = {"labels": list(label_names), "counts": matrix.tolist()}
        true_positives, chosen, support = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        averaged = chosen + support > 0
        mcc = _matthews(truth, predicted)
    precision = _ratio(true_positives, chosen)
    recall = _ratio(true_positives, support)
    f1 = _ratio(2 * true_positives, chosen + support)

    figures: dict[str, Any] = {
        "examples": len(truth),
        "accuracy": float(hits.mean()),
        "accuracy_interval": [float(end) for end in wilson_interval(hits.sum(), len(hits))],
        "macro_f1": float(f1[averaged].mean()),
        "mcc": mcc,
        "log_loss": float(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0)).mean()),
        "ece": calibration_error(of_decision.ravel(), right.ravel()),
    }
    if len(label_names) == 2 and not multi_label:
        both = 0 < truth.sum() < len(truth)
        figures["roc_auc"] = float(sklearn_metrics.roc_auc_score(truth, scores[:, 1])) if both else None

    figures["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(label_names, precision, recall, f1, support, strict=True)
    }
    figures["confusion_matrix"] = confusion
    return figures


def format_headline(metrics: Mapping[str, Any]) -> str:
    """One line for people: accuracy with its interval, the number of rows, macro F1."""
    low, high = metrics["accuracy_interval"]
    name = "accuracy" if metrics["confusion_matrix"] is not None else "exact-match accuracy"
    rows = f"{metrics['examples']:,} example{'' if metrics['examples'] == 1 else 's'}"
    return (
        f"{name} {metrics['accuracy']:.3f} (95 % {low:.3f} to {high:.3f}) on {rows}, "
        f"macro-F1 {metrics['macro_f1']:.3f}"
    )


def calibration_bins(
    confidence: ArrayLike, correct: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Decisions grouped into 15 equal-width bins of their confidence, each closed above.

    Args:
        confidence: (decisions,) the probability given to what was decided.
        correct: (decisions,) whether it was right.

    Returns:
        (15,) each: how many decisions fell in, the sum of their confidences, how many were right.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    index = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    count = np.bincount(index, minlength=CALIBRATION_BINS).astype(np.int64)
    confidence_sum = np.bincount(index, sure, CALIBRATION_BINS).astype(np.float64)
    right = np.bincount(index, np.asarray(correct, dtype=np.float64), CALIBRATION_BINS).astype(np.int64)
    return count, confidence_sum, right


def calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3).

    The gap between mean confidence and accuracy in each of 15 bins, averaged with the bins' shares of the
    decisions as weights. Arguments as in `calibration_bins`.
    """
    count, confidence_sum, right = calibration_bins(confidence, correct)
    return float(np.abs(confidence_sum - right).sum() / count.sum())


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return part / np.maximum(whole, 1)  # 0/0 is 0: a part of nothing is nothing


def _matthews(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    # One class throughout: 0 by convention. scikit-learn agrees, but warns about its own matrix.
    if truth.min() == truth.max() or predicted.min() == predicted.max():
        return 0.0
    return float(sklearn_metrics.matthews_corrcoef(truth, predicted))


def _check(truth: NDArray[Any], scores: NDArray[np.float64], classes: int, multi_label: bool) -> None:
    if len(truth) == 0:
        raise DataError("there are no labelled rows to evaluate")
    expected = (len(truth), classes)
    if scores.shape != expected or truth.shape != (expected if multi_label else expected[:1]):
        raise DataError(
            f"labels of shape {truth.shape} and probabilities of {scores.shape} do not fit {classes} classes"
        )
    bound = 2 if multi_label else classes
    if truth.min() < 0 or truth.max() >= bound:
        row = int(np.argwhere((truth < 0) | (truth >= bound))[0][0])
        raise DataError(f"a label is not between 0 and {bound - 1}", f"in row {row}")
    sound = (scores >= -_PROBABILITY_TOLERANCE) & (scores <= 1 + _PROBABILITY_TOLERANCE)  # False for NaN
    if not sound.all():
        row, column = (int(i) for i in np.argwhere(~sound)[0])
        raise RunFailed(
            f"the model gave {scores[row, column]} as a probability",
            f"for class {column} of row {row}",
            "try --precision fp32, or train it again with a lower learning rate",
        )
