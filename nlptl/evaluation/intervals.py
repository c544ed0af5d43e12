"""95 % intervals: of an accuracy, of the difference of two runs on the same rows, and of either over several draws.

What several classifiers, each made from its own draw of labelled rows, get right on the same test rows is an array
(draws, rows) of 0 and 1; of two systems the difference of their arrays is one of -1, 0 and 1. Draws and rows are both
samples. How many rows of one draw would say as much as all of it does is found from the variance of the mean (Kish
1965, "Survey Sampling"), and the intervals of one draw are taken of so many rows, as Franco et al. (2019, "Comparative
study of confidence intervals for proportions in complex sample surveys") do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

NORMAL_QUANTILE = 1.959963984540054  # of 0.975: 2.5 % in each tail
HALVINGS = 50  # of an interval of width 2, down to what a float64 tells apart
# How far draws lie apart is measured with the noise that each draw has of its own, row by row. To take all of that
# noise off is right on average, and of three draws often leaves nothing; to leave it on makes intervals twice too wide.
NOISE_TAKEN_OFF = 0.75


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The score interval of a proportion (Wilson 1927), elementwise; `trials` must be positive.

    Unlike the usual plus-or-minus interval it stays inside 0..1 and keeps a width at 0 and 1.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    z = NORMAL_QUANTILE
    centre = (k + z**2 / 2) / (n + z**2)
    half_width = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    # At k = 0 and k = n an end is exactly 0 or 1, which rounding would miss.
    low = np.where(k == 0, 0.0, centre - half_width)
    return low, np.where(k == n, 1.0, centre + half_width)


def paired_interval(
    only_a: ArrayLike, only_b: ArrayLike, rows: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The score interval of the difference of two accuracies on the same rows, elementwise.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design". A bootstrap over rows falls short where few rows tell the runs apart, and has no width where none does.

    Args:
        only_a, only_b: rows that A, and that B, alone has right.
        rows: all of them; positive.
    """
    a, b, n = (np.asarray(count, dtype=np.float64) for count in (only_a, only_b, rows))
    return _lowest_difference(a, b, n), -_lowest_difference(b, a, n)


def accuracy_interval(right: ArrayLike) -> tuple[float, float]:
    """Of the accuracy of a system that has these (draws, rows) right."""
    values = np.asarray(right, dtype=np.float64)
    rows = rows_worth(values)
    low, high = wilson_interval(values.mean() * rows, rows)
    return float(low), float(high)


def difference_interval(differences: ArrayLike) -> tuple[float, float]:
    """Of the difference of two accuracies, from what one has right less what the other has, (draws, rows)."""
    values = np.asarray(differences, dtype=np.float64)
    rows = rows_worth(values)
    low, high = paired_interval((values > 0).mean() * rows, (values < 0).mean() * rows, rows)
    return float(low), float(high)


def rows_worth(values: NDArray[np.float64]) -> float:
    """So many rows of one draw have a mean as uncertain as that of all these (draws, rows).

    The variance of the mean is that of a design of two crossed random factors (Searle, Casella and McCulloch 1992,
    "Variance Components"). Few draws say little of how far draws lie apart: their part is widened as Student's t is
    wider than the normal distribution.
    """
    draws, rows = map(int, values.shape)
    of_one = float(values.var())
    by_row, by_draw = values.mean(axis=0), values.mean(axis=1, keepdims=True)
    variance = float(by_row.var()) / rows
    if draws > 1:
        own = values - by_row - by_draw + values.mean()
        noise = float((own**2).sum()) / ((draws - 1) * max(1, rows - 1))
        wider = float(stats.t.ppf(0.975, draws - 1)) / NORMAL_QUANTILE
        apart = (float(by_draw.var(ddof=1)) - NOISE_TAKEN_OFF * noise / rows) / draws
        variance += wider**2 * max(0.0, apart)
    if of_one == 0:  # all alike: nothing is known of draws, and no more than the rows say
        return rows
    return min(of_one / max(variance, 1e-300), draws * rows)


def _lowest_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], n: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least difference that a score test against more does not refuse, by halving where it must lie."""
    low, high = np.full(a.shape, -1.0), (a - b) / n
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # The share of rows that B alone has right, as likely as can be if the difference were `middle`.
        linear = (2 * n - a + b) * middle - a - b
        root = np.sqrt(np.maximum(linear**2 + 8 * n * b * middle * (1 - middle), 0.0))
        share = (root - linear) / (4 * n)
        variance = n * (2 * share + middle * (1 - middle))
        refused = (a - b - n * middle) ** 2 > NORMAL_QUANTILE**2 * variance
        low, high = np.where(refused, middle, low), np.where(refused, high, middle)
    return high
