"""A winner is named, and words are found, for what is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nlptl.evaluation.learning_curves import best_of, plain_summary


def right(accuracy: float, draws: int = 3, rows: int = 200) -> NDArray[np.int8]:
    """So many of the rows right in each draw, the first ones."""
    return np.tile((np.arange(rows) < accuracy * rows).astype(np.int8), (draws, 1))


def test_a_winner_needs_more_than_luck() -> None:
    found = best_of({"a": right(0.9), "b": right(0.6), "c": right(0.5)})
    assert (found["winner"], found["runner_up"]) == ("a", "b")
    assert found["difference"] == pytest.approx(0.3)
    assert 0 < found["difference_interval"][0] < 0.3
    # A row more in two draws, and one less in the third.
    close = right(0.9).copy()
    close[:2, 180], close[2, 0] = 1, 0
    assert best_of({"a": right(0.9), "b": close})["winner"] is None
    assert best_of({"a": right(0.9)})["runner_up"] is None


def point(labels: int, systems: dict[str, Any], everything: bool = False) -> dict[str, Any]:
    """A point as `compare` has it."""
    return {"labels": labels, "all": everything, **best_of(systems)}


def test_the_sentence_says_who_wins_and_where_labels_stop_helping() -> None:
    curves = [
        {"tfidf": right(0.61), "lm fine-tuned": right(0.7)},
        {"tfidf": right(0.7), "lm fine-tuned": right(0.87)},
        {"tfidf": right(0.8), "lm fine-tuned": right(0.87)},
    ]
    points = [point(50, curves[0]), point(100, curves[1]), point(1234, curves[2], True)]
    assert plain_summary(points, curves) == (
        "With 50 labels, lm fine-tuned is right 70 of 100 times, tfidf 61. "
        "With all 1,234 labels, lm fine-tuned is right 87 of 100 times, tfidf 80. "
        "More labels help until about 100."
    )
    assert plain_summary(points[:2], curves[:2]).endswith("More labels still help at the end of the curve.")
    same = [curves[1], curves[1]]
    assert "no gain that stands out" in plain_summary([point(50, same[0]), point(100, same[1])], same)


def test_what_cannot_be_told_apart_is_not_called_better() -> None:
    draw = np.random.default_rng(1)
    a = (draw.random((3, 100)) < 0.7).astype(np.int8)
    b = (draw.random((3, 100)) < 0.7).astype(np.int8)
    systems = {"tfidf": right(0.4, rows=100), "a": a, "b": b}
    said = plain_summary([point(50, systems)], [systems])
    assert "cannot be told apart; tfidf: 40." in said
    assert plain_summary([point(50, {})], [{}]) == "No system could be measured."
