"""Accuracy by the number of labels: who wins where, and what that means, in plain words.

What a system gets right is an array (draws, rows) of 0 and 1: each draw of labelled rows, by its seed, makes a
classifier, and all of them are tested on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlptl.evaluation.intervals import difference_interval

BASELINE = "tfidf"

Right = Mapping[str, NDArray[np.int8]]


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
    low, high = difference_interval(gap)
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
        if all(difference_interval(later - here)[0] <= 0 for _, later in curve[place + 1 :]):
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
