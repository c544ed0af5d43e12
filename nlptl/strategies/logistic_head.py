"""Logistic regression by scikit-learn on frozen features, put into a linear head exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from nlptl.strategies.class_weights import weighted_loss
from nlptl.strategies.folds import FEW, dealt_folds
from nlptl.training.models import LayeredClassifier
from nlptl.training.progress import Reporter

INVERSE_REGULARISATION = tuple(10 ** (power / 2) for power in range(-8, 3))  # 0.0001, 0.00032, ... 10
FOLDS = 5  # of the training texts where validation texts are few: each is asked by a fit without its fold
PATIENCE = 2  # strengths in a row that are no better, after which weaker ones are not tried
LITTLE = 2**20  # numbers to fit to, with which threads wait for each other longer than they work
CERTAIN = 1e4  # a score of which nothing is left but 0 or 1
ROUNDING = 2**-22  # of a feature in fp32, as a share of its size, or of that of the features beside it

Features = Sequence[NDArray[np.float32]]
Rows = tuple[NDArray[np.float64], NDArray[np.int64]]  # features (texts, width), labels
Linear = tuple[NDArray[np.float64], NDArray[np.float64]]


def fit_logistic(
    classifier: LayeredClassifier,
    train: tuple[Features, NDArray[np.int64]],
    validation: tuple[Features, NDArray[np.int64]],
    *,
    class_weights: Tensor | None,
    seed: int,
    reporter: Reporter,
) -> list[dict[str, float]]:
    """Logistic regression on each head's features, put into the linear head exactly.

    The strength of the regularisation is the one with the least log loss on the validation features and, where these
    are few, on the training features, cross-validated; it is sought from the strongest on. Features are standardised
    for the solver; mean and scale are folded into the weights afterwards.

    Args:
        train, validation: each head's features (texts, width), and the labels, (texts,) or (texts, classes) of zeros
            and ones.
        class_weights: as `balanced_weights` gives them, or None; they count in the validation loss as well.

    Returns:
        The strength chosen, by head.
    """
    heads = classifier.heads()
    weights = None if class_weights is None else class_weights.double().cpu()
    chosen: list[dict[str, float]] = []

    def say(head: int, tried: int, what: str) -> None:
        reporter.advance(head * len(INVERSE_REGULARISATION) + tried, what)

    reporter.start("logistic regression", len(heads) * len(INVERSE_REGULARISATION))
    try:
        for number, (head, x, x_validation) in enumerate(zip(heads, train[0], validation[0], strict=True)):
            assert isinstance(head, nn.Linear)
            scaler = _scaler(x)
            trials = _trials(
                (scaler.transform(x), train[1]),
                (scaler.transform(x_validation), validation[1]),
                head.out_features,
                weights,
                seed,
            )
            with threadpool_limits(1 if x.size <= LITTLE else None):
                strength, (weight, bias) = _sought(trials, partial(say, number))
            _put(head, weight, bias, scaler)
            chosen.append({"inverse_regularisation": strength})
    finally:
        reporter.finish()
    return chosen


def _scaler(x: NDArray[np.float32]) -> StandardScaler:
    """That of these features; one that varies by rounding alone says nothing, and is not blown up to the others' size,
    where the same text would be another in other company.
    """
    scaler = StandardScaler().fit(x)
    squares = np.square(x, dtype=np.float64)
    sizes = np.sqrt(np.maximum(squares.mean(axis=0), squares.mean()))
    scaler.scale_[scaler.scale_ < ROUNDING * sizes] = 1.0
    return scaler


@dataclass(frozen=True)
class _Trial:
    """A regression, and the rows that it is measured on."""

    regression: _Regression
    held_out: Rows

    def fit(self, strength: float) -> tuple[Linear, float]:
        """The solution, and the sum of its log losses on the held-out rows."""
        weight, bias = self.regression.fit(strength)
        x, labels = self.held_out
        scores, truth = torch.from_numpy(x @ weight.T + bias), torch.from_numpy(labels)
        return (weight, bias), len(x) * float(weighted_loss(scores, truth, self.regression.weights))


def _sought(trials: Sequence[_Trial], on_tried: Callable[[int, str], None]) -> tuple[float, Linear]:
    """The strength with the least log loss over all trials, and the first trial's solution at it.

    Args:
        on_tried: told how many strengths were tried, and how the best did.
    """
    rows = sum(len(trial.held_out[0]) for trial in trials)
    least, best, since = math.inf, (0.0, (np.zeros(0), np.zeros(0))), 0
    for tried, strength in enumerate(INVERSE_REGULARISATION, start=1):
        fits = [trial.fit(strength) for trial in trials]
        loss = sum(total for _, total in fits) / rows
        since += 1
        if loss < least:
            least, best, since = loss, (strength, fits[0][0]), 0
        on_tried(tried, f"validation loss {least:.4f} at best")
        if since >= PATIENCE:
            break
    return best


def _trials(train: Rows, validation: Rows, classes: int, weights: Tensor | None, seed: int) -> list[_Trial]:
    """The regression that is wanted first; where validation rows are few, one more for each fold of the training rows,
    into which every class is dealt evenly."""
    x, labels = train
    trials = [_Trial(_Regression(x, labels, classes, weights, seed), validation)]
    if len(validation[0]) < FEW:
        fold = dealt_folds(labels, FOLDS, seed)
        for number in range(FOLDS if len(labels) >= 2 * FOLDS else 0):
            rest, own = fold != number, fold == number
            if labels.ndim == 2 or len(np.unique(labels[rest])) > 1:
                without = _Regression(x[rest], labels[rest], classes, weights, seed)
                trials.append(_Trial(without, (x[own], labels[own])))
    return trials


def _put(
    head: nn.Linear, weight: NDArray[np.float64], bias: NDArray[np.float64], scaler: StandardScaler
) -> None:
    """Weights for standardised features -> the head's weights for the features as they are."""
    folded = weight / scaler.scale_
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(folded))
        head.bias.copy_(torch.from_numpy(bias - folded @ scaler.mean_))


class _Regression:
    """scikit-learn's solver at one strength after the other, each fit starting from the last one's solution.

    Args:
        x: (texts, width).
        labels: (texts,), or (texts, classes) of zeros and ones: one regression a label.
        weights: (classes,) or None.
    """

    def __init__(
        self,
        x: NDArray[np.float64],
        labels: NDArray[np.int64],
        classes: int,
        weights: Tensor | None,
        seed: int,
    ) -> None:
        self.x, self.classes, self.weights, self.several = x, classes, weights, labels.ndim == 2
        self.targets = list(labels.T) if self.several else [labels]
        each = [1.0] * classes if weights is None else weights.tolist()
        per_target: list[dict[int, float]] = (
            [{0: 1.0, 1: weight} for weight in each] if self.several else [dict(enumerate(each))]
        )
        self.solvers = [
            LogisticRegression(max_iter=1000, class_weight=of, random_state=seed, warm_start=True)
            for of in per_target
        ]

    def fit(self, strength: float) -> Linear:
        """Weights (classes, width) and bias (classes,)."""
        fitted = [
            self._fitted(solver.set_params(C=strength), target)
            for solver, target in zip(self.solvers, self.targets, strict=True)
        ]
        if self.several:
            return np.vstack([weight for weight, _ in fitted]), np.concatenate([bias for _, bias in fitted])
        weight, bias = fitted[0]
        if len(weight) == 1:  # two classes: one score, which softmax needs as two
            weight, bias = np.vstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        full_weight, full_bias = np.zeros((self.classes, self.x.shape[1])), np.full(self.classes, -CERTAIN)
        present = np.unique(self.targets[0])
        full_weight[present], full_bias[present] = weight, bias
        return full_weight, full_bias

    def _fitted(self, solver: Any, target: NDArray[np.int64]) -> Linear:
        """One regression's weights; a label that all or no training texts have is a constant."""
        if self.several and target.min() == target.max():
            return np.zeros((1, self.x.shape[1])), np.array([CERTAIN if target[0] else -CERTAIN])
        solver.fit(self.x, target)
        return solver.coef_, solver.intercept_
