"""Accuracy by the number of labels: intervals over draws and test rows, who wins where, and both in plain words.

What a system gets right is an array (draws, rows) of 0 and 1: each draw of labelled rows, by its seed, makes a
classifier, and all of them are tested on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from nlptl.evaluation.metrics import wilson_interval

RESAMPLES = 4000
COUNTS_AT_ONCE = 4_000_000  # resamples are drawn in blocks of about so many numbers
BASELINE = "tfidf"

Right = Mapping[str, NDArray[np.int8]]


def two_level_interval(
    values: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean over draws and rows, both of which are samples, by a bootstrap of two levels.

    Each resample draws rows with replacement, the same for all draws, and draws with replacement (crossed factors:
    Owen 2007, "The pigeonhole bootstrap"). Few draws say little of how far draws lie apart: resampled as they are,
    three of them would give an interval that holds the truth four times of five. So their share of a resample's
    distance from the mean is widened as Student's t is wider than the normal distribution, and by the
    sqrt(draws / (draws - 1)) that a bootstrap of few lacks. Of one draw the interval is that of the rows alone.

    Args:
        values: (draws, rows); 0 and 1, or differences of them.
    """
    table = np.asarray(values)
    draws, rows = table.shape
    # Rows with the same values are alike: drawing rows is drawing how many there are of each kind.
    kinds, counts = np.unique(table.T, axis=0, return_counts=True)
    wider = 0.0
    if draws > 1:
        wider = stats.t.ppf(0.975, draws - 1) / stats.norm.ppf(0.975) * np.sqrt(draws / (draws - 1))
    generator = np.random.default_rng(seed)
    means = []
    block = max(1, COUNTS_AT_ONCE // len(kinds))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        of_draws = generator.multinomial(rows, counts / rows, size=size) @ kinds / rows  # (size, draws)
        drawn = generator.multinomial(draws, np.full(draws, 1 / draws), size=size) / draws
        means.append((of_draws * (1 / draws + wider * (drawn - 1 / draws))).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def accuracy_interval(right: NDArray[np.int8]) -> tuple[float, float]:
    """The 95 % interval of a system's accuracy; where all is right, or all wrong, Wilson's over the rows."""
    if right.min() == right.max():
        ends = wilson_interval(right[0].sum(), right.shape[1])
        return float(ends[0]), float(ends[1])
    low, high = two_level_interval(right)
    return max(0.0, low), min(1.0, high)


def best_of(right: Right) -> dict[str, Any]:
    """The best system and the second best, on the same draws and rows, and whether they can be told apart.

    Returns:
        `winner`, or None where the interval of the difference holds 0 or there is one system alone; `runner_up`, the
        second best; `difference` of the two accuracies, and `difference_interval`, 95 %.
    """
    order = sorted(right, key=lambda name: -right[name].mean())
    if len(order) < 2:
        return {"winner": None, "runner_up": None, "difference": None, "difference_interval": None}
    best, second = order[:2]
    gap = right[best] - right[second]
    low, high = two_level_interval(gap)
    return {
        "winner": best if low > 0 else None,
        "runner_up": second,
        "difference": float(gap.mean()),
        "difference_interval": [low, high],
    }


def plain_summary(points: Sequence[Mapping[str, Any]], right: Sequence[Right]) -> str:
    """What the curves say, for somebody who has never seen one.

    Args:
        points: `labels`, `all` and what `best_of` found, in the order of the labels.
        right: of each point, what the systems without a failure got right.
    """
    measured = [pair for pair in zip(points, right, strict=True) if pair[1]]
    if not measured:
        return "No system could be measured."
    ends = [measured[0]] if len(measured) == 1 else [measured[0], measured[-1]]
    sentences = [_at(point, systems) for point, systems in ends]
    if len(measured) > 1:
        sentences.append(_worth_of_labels(measured))
    return " ".join(sentence for sentence in sentences if sentence)


def _at(point: Mapping[str, Any], right: Right) -> str:
    """Who is how often right at one point."""
    order = sorted(right, key=lambda name: -right[name].mean())
    with_labels = f"With {_labels(point)}"
    if len(order) == 1:
        return f"{with_labels}, {order[0]} is right {_times(right, order[0])} of 100 times."
    best, second = order[:2]
    if point["winner"] is None:
        said = (
            f"{with_labels}, {best} ({_times(right, best)} of 100 right) and {second} ({_times(right, second)}) "
            "cannot be told apart"
        )
        return said + (f"; {BASELINE}: {_times(right, BASELINE)}." if BASELINE in order[2:] else ".")
    other = BASELINE if BASELINE in right and best != BASELINE else second
    return (
        f"{with_labels}, {best} is right {_times(right, best)} of 100 times, {other} {_times(right, other)}."
    )


def _worth_of_labels(measured: Sequence[tuple[Mapping[str, Any], Right]]) -> str:
    """Where the curve of the system that is best at the end stops rising by more than chance."""
    last = measured[-1][1]
    best = max(last, key=lambda name: last[name].mean())
    curve = [(point, right[best]) for point, right in measured if best in right]
    if len(curve) < 2:
        return ""
    for place, (point, here) in enumerate(curve[:-1]):
        if all(two_level_interval(later - here)[0] <= 0 for _, later in curve[place + 1 :]):
            if place == 0:
                return (
                    f"More labels than {point['labels']:,} bring {best} no gain that stands out from chance."
                )
            return f"More labels help until about {point['labels']:,}."
    return "More labels still help at the end of the curve."


def _labels(point: Mapping[str, Any]) -> str:
    return f"all {point['labels']:,} labels" if point["all"] else f"{point['labels']:,} labels"


def _times(right: Right, name: str) -> int:
    return round(100 * float(right[name].mean()))
