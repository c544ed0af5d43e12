"""The temperature that makes probabilities as large as they are right (Guo et al. 2017, section 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

# Of the inverse temperature, in which the log loss is convex. Beyond them a few rows would say of all others that
# nothing, or everything, is sure.
BOUNDS = (0.05, 20.0)


def tempered(logits: ArrayLike, temperature: float, *, multi_label: bool) -> NDArray[np.float64]:
    """Logits (rows, classes) -> probabilities at a temperature: softmax, or sigmoid of each class."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(expit(scaled) if multi_label else softmax(scaled, axis=1))


def fitted_temperature(logits: ArrayLike, labels: ArrayLike, *, multi_label: bool = False) -> float:
    """The temperature with the least log loss on labelled rows; 1 where no other is better.

    Where every decision is right the log loss falls without end as the temperature does, and says nothing of how sure
    the next rows are: that is 1, too.

    Args:
        logits: (rows, classes).
        labels: (rows,) class ids; with `multi_label`, (rows, classes) of 0 and 1.
    """
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels).astype(np.int64)
    if multi_label:
        right = (scores >= 0) == (truth == 1)
        signed = np.where(truth == 1, -scores, scores)
    else:
        right = scores.argmax(axis=1) == truth
        signed = scores - scores[np.arange(len(truth)), truth][:, None]
    if right.all():
        return 1.0

    def log_loss(inverse: float) -> float:
        # log(1 + e^x) of a class by itself; log of the sum of e^x over the classes of which one is the label's.
        terms = np.logaddexp(0, signed * inverse) if multi_label else _log_sum(signed * inverse)
        return float(terms.mean())

    best = float(minimize_scalar(log_loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-5}).x)
    inverse = min((1.0, best, *BOUNDS), key=log_loss)  # the first of equals
    return 1.0 / inverse


def _log_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(values, axis=1))
