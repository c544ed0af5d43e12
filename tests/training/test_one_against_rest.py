"""Sparse logistic regressions, against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from nlptl.training.one_against_rest import NEVER, OneAgainstRest


@pytest.fixture
def rows() -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 120)
    features = sparse.random(120, 40, density=0.2, random_state=0, format="csr", dtype=np.float32)
    features = sparse.csr_matrix(features + sparse.csr_matrix(np.eye(3, 40, dtype=np.float32)[labels] * 0.3))
    return features, labels


def test_each_class_is_a_regression_against_the_rest(
    rows: tuple[sparse.csr_matrix, NDArray[np.int64]],
) -> None:
    features, labels = rows
    odds = OneAgainstRest(False, 2.0).fit(features, labels[:, None] == np.arange(3)).log_odds(features)
    for number in range(3):
        expected = LogisticRegression(
            C=2.0, solver="liblinear", dual=True, tol=1e-3, max_iter=1000, random_state=0
        )
        expected.fit(features, labels == number)
        np.testing.assert_allclose(odds[:, number], expected.decision_function(features), atol=1e-4)


def test_weights_by_naive_bayes_are_part_of_the_result(
    rows: tuple[sparse.csr_matrix, NDArray[np.int64]],
) -> None:
    features, labels = rows
    inside = labels == 1
    of_class = np.asarray(features[inside].sum(axis=0)).ravel() + 0.1
    of_others = np.asarray(features[~inside].sum(axis=0)).ravel() + 0.1
    ratio = np.log(of_class / of_class.sum()) - np.log(of_others / of_others.sum())
    scaled = features @ sparse.diags(ratio.astype(np.float32))
    expected = LogisticRegression(
        C=2.0, solver="liblinear", dual=True, tol=1e-3, max_iter=1000, random_state=0
    )
    expected.fit(scaled, inside)
    odds = OneAgainstRest(True, 2.0).fit(features, inside[:, None]).log_odds(features)
    np.testing.assert_allclose(odds[:, 0], expected.decision_function(scaled), atol=1e-4)


def test_a_row_of_weight_two_is_a_row_twice(rows: tuple[sparse.csr_matrix, NDArray[np.int64]]) -> None:
    features, labels = rows
    classes, heavy = labels[:, None] == np.arange(3), labels == 2
    weighted = OneAgainstRest(False, 1.0).fit(features, classes, 1.0 + heavy[:, None])
    doubled = OneAgainstRest(False, 1.0).fit(
        sparse.vstack([features, features[heavy]]).tocsr(), np.vstack([classes, classes[heavy]])
    )
    np.testing.assert_allclose(weighted.weight, doubled.weight, atol=5e-3)  # as near as the solver goes


def test_a_class_that_no_row_has_or_every_row_is_a_constant(
    rows: tuple[sparse.csr_matrix, NDArray[np.int64]],
) -> None:
    features, labels = rows
    classes = np.stack([labels == 0, labels == 9, labels < 9], axis=1)
    odds = OneAgainstRest(True, 1.0).fit(features, classes).log_odds(features)
    assert np.ptp(odds[:, 0]) > 0
    assert (odds[:, 1] == NEVER).all()
    assert (odds[:, 2] == -NEVER).all()
