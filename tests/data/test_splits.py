"""Class-balanced samples and stratified validation parts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.data.splits import balanced_sample, stratified_validation
from nlptl.errors import DataError

label_lists = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60)


@given(labels=label_lists, size=st.integers(1, 70), seed=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_a_sample_is_balanced_exact_and_holds_the_smaller_ones(
    labels: list[str], size: int, seed: int
) -> None:
    there = Counter(labels)
    size = max(size, len(there))
    chosen = balanced_sample(labels, size, seed)
    assert len(chosen) == min(size, len(labels))
    assert chosen == sorted(set(chosen))
    taken = Counter(labels[row] for row in chosen)
    for name in there:
        for other in there:
            # A class may only have two rows fewer than another if it has no more to give.
            assert taken[name] + 1 >= taken[other] or taken[name] == there[name]
    assert set(chosen) <= set(balanced_sample(labels, size + 1, seed))


def test_the_seed_decides_and_repeats() -> None:
    labels = list("ab" * 50)
    assert balanced_sample(labels, 10, 0) == balanced_sample(labels, 10, 0)
    assert balanced_sample(labels, 10, 0) != balanced_sample(labels, 10, 1)


def test_a_sample_smaller_than_the_classes_is_an_error() -> None:
    with pytest.raises(DataError, match="2 rows cannot hold 3 classes"):
        balanced_sample(list("abc"), 2, 0)


@given(labels=label_lists, fraction=st.floats(0.01, 0.9), seed=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_every_class_of_two_rows_is_on_both_sides(labels: list[str], fraction: float, seed: int) -> None:
    chosen = stratified_validation(labels, fraction, seed)
    held = Counter(labels[row] for row in chosen)
    for name, count in Counter(labels).items():
        assert held[name] < count
        assert held[name] >= (count > 1)
        assert abs(held[name] - count * fraction) <= 1


def test_a_tenth_of_each_class_is_held_out() -> None:
    labels = ["a"] * 100 + ["b"] * 30
    assert Counter(labels[row] for row in stratified_validation(labels, 0.1, 0)) == {"a": 10, "b": 3}
