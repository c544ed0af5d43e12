from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from nlptl.errors import DataError
from nlptl.evaluation.comparison import paired_comparison


def runs(rows: int, only_a: int, only_b: int) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Labels and two runs' predictions; A alone is right on the first rows, B alone on the next."""
    labels = np.full(rows, "pos")
    a, b = labels.copy(), labels.copy()
    b[:only_a] = "neg"
    a[only_a : only_a + only_b] = "neg"
    return labels, a, b


def test_mcnemar_is_the_exact_binomial_of_the_rows_that_differ() -> None:
    figures = paired_comparison(*runs(100, only_a=12, only_b=3))
    tail = sum(comb(15, k) for k in range(4)) / 2**15
    assert figures["mcnemar_p"] == pytest.approx(2 * tail)
    assert figures["accuracy_difference"] == pytest.approx(0.09)


def test_interval_is_that_of_resampling_the_rows_themselves() -> None:
    labels, a, b = runs(80, only_a=15, only_b=6)
    rng = np.random.default_rng(5)
    gain = (a == labels).astype(int) - (b == labels)
    drawn = gain[rng.integers(0, 80, size=(20_000, 80))].mean(axis=1)
    expected = np.quantile(drawn, [0.025, 0.975])
    # One row is 1/80: the two bootstraps may differ by a step of the discrete distribution.
    assert paired_comparison(labels, a, b)["interval"] == pytest.approx(expected, abs=1 / 80 + 1e-9)


def test_interval_covers_the_true_difference_95_times_in_100() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for only_a, only_b, _ in rng.multinomial(300, [0.12, 0.07, 0.81], size=300):
        low, high = paired_comparison(*runs(300, only_a, only_b), resamples=1000)["interval"]
        covered += low <= 0.05 <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)


def test_runs_that_are_right_on_the_same_rows_do_not_differ() -> None:
    labels = ["a", "b", "c"]
    figures = paired_comparison(labels, ["a", "b", "b"], ["a", "b", "a"])
    assert figures == {"accuracy_difference": 0.0, "interval": [0.0, 0.0], "mcnemar_p": 1.0}


def test_swapping_the_runs_swaps_the_sign() -> None:
    labels, a, b = runs(50, only_a=9, only_b=2)
    forth, back = paired_comparison(labels, a, b), paired_comparison(labels, b, a)
    assert back["accuracy_difference"] == -forth["accuracy_difference"]
    assert back["mcnemar_p"] == forth["mcnemar_p"]
    assert back["interval"] == pytest.approx([-end for end in reversed(forth["interval"])], abs=0.021)


def test_a_set_of_labels_is_right_only_as_a_whole() -> None:
    labels = np.array([[1, 0], [1, 1]])
    figures = paired_comparison(labels, labels, np.array([[1, 0], [1, 0]]))
    assert figures["accuracy_difference"] == 0.5


def test_same_seed_same_interval_and_plain_numbers() -> None:
    figures = paired_comparison(*runs(60, 9, 4), seed=7)
    assert figures == paired_comparison(*runs(60, 9, 4), seed=7)
    assert json.loads(json.dumps(figures)) == figures


def test_runs_on_different_rows_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="cannot be paired"):
        paired_comparison([0, 1, 1], [0, 1, 1], [0, 1])
    with pytest.raises(DataError, match="no labelled rows"):
        paired_comparison([], [], [])
