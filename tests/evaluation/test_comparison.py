from __future__ import annotations

import itertools
import json
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

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


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (40, 20), (300, 350)]
)
def test_mcnemar_equals_the_binomial_test_of_scipy(only_a: int, only_b: int) -> None:
    figures = paired_comparison(*runs(1000, only_a, only_b))
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert figures["mcnemar_p"] == pytest.approx(expected, rel=1e-12)


def test_mcnemar_is_right_where_every_outcome_is_tried() -> None:
    """Of four rows that tell the runs apart: all sixteen ways in which luck could have given them to A or to B."""
    ways = list(itertools.product([-1, 1], repeat=4))
    for only_a in range(5):
        as_far = sum(abs(sum(way)) >= abs(2 * only_a - 4) for way in ways)
        assert paired_comparison(*runs(9, only_a, 4 - only_a))["mcnemar_p"] == pytest.approx(as_far / 16)


def test_of_many_rows_the_interval_is_that_of_a_bootstrap_over_rows() -> None:
    labels, a, b = runs(2000, only_a=160, only_b=100)
    gain = (a == labels).astype(int) - (b == labels)
    draw = np.random.default_rng(5)
    means = [gain[draw.integers(0, 2000, size=2000)].mean() for _ in range(4000)]
    assert paired_comparison(labels, a, b)["interval"] == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.0015
    )


def test_runs_that_are_right_on_the_same_rows_may_yet_differ_on_others() -> None:
    labels = np.full(100, "a")
    figures = paired_comparison(labels, labels, labels)
    assert (figures["accuracy_difference"], figures["mcnemar_p"]) == (0.0, 1.0)
    low, high = figures["interval"]
    assert -0.05 < low < 0 < high < 0.05


def test_swapping_the_runs_swaps_the_sign() -> None:
    labels, a, b = runs(50, only_a=9, only_b=2)
    forth, back = paired_comparison(labels, a, b), paired_comparison(labels, b, a)
    assert back["accuracy_difference"] == -forth["accuracy_difference"]
    assert back["mcnemar_p"] == forth["mcnemar_p"]
    assert back["interval"] == pytest.approx([-end for end in reversed(forth["interval"])])


def test_a_set_of_labels_is_right_only_as_a_whole() -> None:
    labels = np.array([[1, 0], [1, 1]])
    figures = paired_comparison(labels, labels, np.array([[1, 0], [1, 0]]))
    assert figures["accuracy_difference"] == 0.5


def test_figures_are_plain_numbers() -> None:
    figures = paired_comparison(*runs(60, 9, 4))
    assert json.loads(json.dumps(figures)) == figures


def test_runs_on_different_rows_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="cannot be paired"):
        paired_comparison([0, 1, 1], [0, 1, 1], [0, 1])
    with pytest.raises(DataError, match="no labelled rows"):
        paired_comparison([], [], [])
