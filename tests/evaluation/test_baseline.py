"""TF-IDF: that it learns, from few rows too, and keeps the order of the classes."""

from __future__ import annotations

import numpy as np
import pytest

from nlptl.evaluation.baseline import fit_tfidf

SUBJECTS = ("ship", "train", "bicycle", "horse", "lorry")


def rows(count: int, classes: int) -> tuple[list[str], np.ndarray]:
    """Texts whose second word tells the class, and the class numbers."""
    labels = np.arange(count) % classes
    return [f"The {SUBJECTS[label]} number {row} goes by." for row, label in enumerate(labels)], labels


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("count", [20, 600])  # chosen by cross-validation, and on the validation rows
def test_it_learns_what_one_word_tells(classes: int, count: int) -> None:
    texts, labels = rows(count, classes)
    model = fit_tfidf(texts, labels, *rows(10, classes))
    found = model.predict_proba(texts)
    assert found.shape == (count, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == labels).mean() > 0.95


def test_a_class_of_one_row_and_words_never_seen_are_no_obstacle() -> None:
    model = fit_tfidf(["a b", "c d", "e f"], np.array([0, 1, 2]), ["a b", "c d"], np.array([0, 1]))
    found = model.predict_proba(["", "never seen", "e f"])
    assert np.isfinite(found).all()
    assert found[2].argmax() == 2


def test_it_learns_from_the_validation_rows_as_well() -> None:
    train, validation = ["dull film", "fine film"] * 4, ["awful plot", "lovely plot"] * 2
    model = fit_tfidf(train, np.array([0, 1] * 4), validation, np.array([0, 1] * 2))
    assert model.predict_proba(["awful", "lovely"]).argmax(axis=1).tolist() == [0, 1]
