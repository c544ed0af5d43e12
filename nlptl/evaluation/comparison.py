"""Two runs on one test set: is the difference of their accuracies more than the luck of the rows?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from nlptl.errors import DataError
from nlptl.evaluation.intervals import paired_interval


def paired_comparison(
    labels: ArrayLike,
    predictions_a: ArrayLike,
    predictions_b: ArrayLike,
) -> dict[str, Any]:
    """The accuracy of run A minus that of run B, with two tests that pair the runs row by row.

    Args:
        labels: (rows,) names or ids; (rows, classes) of 0 and 1 where a row may have several labels, and
            then a prediction is right if the whole set is.
        predictions_a, predictions_b: the same shape, over one and the same list of labels.

    Returns:
        `accuracy_difference`, A minus B;
        `interval`, its 95 % interval (see `paired_interval`);
        `mcnemar_p`, the two-sided p-value of McNemar's test in its exact binomial form, 1 where no row
        tells the runs apart.

    Raises:
        DataError: there are no rows, or the three arrays do not have the same shape.
    """
    truth, a, b = np.asarray(labels), np.asarray(predictions_a), np.asarray(predictions_b)
    if len(truth) == 0:
        raise DataError("there are no labelled rows to compare the runs on")
    if not truth.shape == a.shape == b.shape:
        raise DataError(
            f"the runs cannot be paired: labels of shape {truth.shape}, predictions {a.shape} and {b.shape}",
            remedy="let both runs predict the same rows",
        )
    rows = len(truth)
    a_right = (a == truth).reshape(rows, -1).all(axis=1)
    b_right = (b == truth).reshape(rows, -1).all(axis=1)
    only_a, only_b = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())

    low, high = paired_interval(only_a, only_b, rows)
    apart = only_a + only_b
    return {
        "accuracy_difference": (only_a - only_b) / rows,
        "interval": [float(low), float(high)],
        "mcnemar_p": float(binomtest(only_a, apart).pvalue) if apart else 1.0,
    }
