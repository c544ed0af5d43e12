"""The linear head is exactly what scikit-learn fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.strategies.class_weights import balanced_weights, weighted_figures
from nlptl.strategies.logistic_head import FOLDS, INVERSE_REGULARISATION, fit_logistic
from nlptl.training.progress import Reporter
from tests.strategies.vectors import Part, by_model, labelled_vectors

Build = Callable[..., UlmfitForSequenceClassification]


def fit(
    model: UlmfitForSequenceClassification,
    train: Part,
    validation: Part,
    class_weights: torch.Tensor | None = None,
) -> list[float]:
    """The strength that was chosen for each head."""
    chosen = fit_logistic(
        model, train, validation, class_weights=class_weights, seed=0, reporter=Reporter(quiet=True)
    )
    return [of_head["inverse_regularisation"] for of_head in chosen]


@pytest.fixture
def strengths(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets those that are tried: of one alone, the solver starts from nothing as a new one would."""

    def settle(*values: float) -> None:
        monkeypatch.setattr("nlptl.strategies.logistic_head.INVERSE_REGULARISATION", values)

    return settle


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_head_is_exactly_the_logistic_regression(
    build: Build, strengths: Callable[..., None], classes: int, balanced: bool
) -> None:
    strengths(0.1)
    model = build(classes)
    train, validation = labelled_vectors(classes)
    rare = train[1] != 0  # so that the weights differ
    rare[:9] = True
    train = ([train[0][0][rare]], train[1][rare])
    fit(model, train, validation, balanced_weights(train[1], classes) if balanced else None)
    scaler = StandardScaler().fit(train[0][0])
    expected = LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced" if balanced else None)
    expected.fit(scaler.transform(train[0][0]), train[1])
    probabilities = expected.predict_proba(scaler.transform(validation[0][0]))
    np.testing.assert_allclose(by_model(model, validation[0]), probabilities, atol=1e-5)


@pytest.mark.parametrize("weights", [None, [0.1, 1.0, 5.0]])
def test_the_strength_is_the_one_that_validation_texts_like_best(
    build: Build, strengths: Callable[..., None], weights: list[float] | None
) -> None:
    """Each class as heavy there as in training."""
    model, class_weights = build(3), None if weights is None else torch.tensor(weights)
    train, validation = labelled_vectors(3)

    def loss() -> float:
        probabilities = by_model(model, validation[0]).astype(np.float64)
        return list(weighted_figures(probabilities, validation[1], class_weights).values())[1]

    (chosen,) = fit(model, train, validation, class_weights)
    assert chosen in INVERSE_REGULARISATION
    best = loss()
    for strength in INVERSE_REGULARISATION:
        strengths(strength)
        fit(model, train, validation, class_weights)
        # One fit starts from another's solution, which the solver leaves a little earlier or later.
        assert loss() >= best - (1e-3 if strength == chosen else 0)


def test_weaker_regularisation_is_not_tried_once_it_is_no_better(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    set_params = LogisticRegression.set_params

    def noted(self: Any, **values: float) -> Any:
        tried.append(values["C"])
        return set_params(self, **values)

    monkeypatch.setattr(LogisticRegression, "set_params", noted)
    train, _ = labelled_vectors(3)
    noise = ([np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)], np.arange(20) % 3)
    (chosen,) = fit(build(3), train, noise)
    assert chosen == tried[0] == INVERSE_REGULARISATION[0]
    assert len(tried) == 3 * (1 + FOLDS)


def test_few_validation_texts_do_not_decide_alone(build: Build) -> None:
    train, _ = labelled_vectors(3)
    vectors, labels = train[0][0], train[1]
    wrong = ([vectors[:4]], (labels[:4] + 1) % 3)  # by which the strongest regularisation is the best
    (chosen,) = fit(build(3), train, wrong)
    assert chosen > INVERSE_REGULARISATION[2]


def test_a_class_of_one_text_can_be_held_out(build: Build) -> None:
    x = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    rows = ([x], np.array([0] * 19 + [1]))
    (chosen,) = fit(build(2), rows, rows)
    assert chosen in INVERSE_REGULARISATION


def test_the_solver_reaches_its_solution(build: Build, recwarn: pytest.WarningsRecorder) -> None:
    fit(build(3), *labelled_vectors(3))
    assert not [warning for warning in recwarn if "converge" in str(warning.message)]


def test_each_direction_has_its_own_head(build: Build, strengths: Callable[..., None]) -> None:
    strengths(0.1)
    model = build(3, bidirectional=True)
    train, validation = labelled_vectors(3, heads=2)
    assert fit(model, train, validation) == [0.1, 0.1]
    apart = []
    for number in range(2):
        scaler = StandardScaler().fit(train[0][number])
        solver = LogisticRegression(C=0.1, max_iter=1000)
        solver.fit(scaler.transform(train[0][number]), train[1])
        apart.append(solver.predict_proba(scaler.transform(validation[0][number])))
    np.testing.assert_allclose(by_model(model, validation[0]), np.mean(apart, axis=0), atol=1e-5)


@pytest.mark.parametrize("weights", [None, [3.0, 0.5, 50.0]])
def test_several_labels_are_one_regression_a_label(
    build: Build, strengths: Callable[..., None], weights: list[float] | None
) -> None:
    strengths(0.1)
    model = build(3, problem_type="multi_label_classification")
    (x, _), (x_validation, _) = labelled_vectors(3)
    random = np.random.default_rng(2)
    labels, validation_labels = (random.integers(0, 2, (count, 3)).astype(np.int64) for count in (60, 20))
    labels[:, 2] = 0  # nobody has it: its probability is nil
    fit(
        model,
        (x, labels),
        (x_validation, validation_labels),
        None if weights is None else torch.tensor(weights),
    )
    found = by_model(model, x_validation)
    scaler = StandardScaler().fit(x[0])
    for label in range(2):
        weight = None if weights is None else {0: 1.0, 1: weights[label]}
        solver = LogisticRegression(C=0.1, max_iter=1000, class_weight=weight)
        expected = OneVsRestClassifier(solver).fit(scaler.transform(x[0]), labels[:, label])
        probabilities = expected.predict_proba(scaler.transform(x_validation[0]))[:, 1]
        np.testing.assert_allclose(found[:, label], probabilities, atol=1e-5)
    assert (found[:, 2] < 1e-6).all()


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 1.0, 0.5]])
def test_a_class_without_a_training_row_is_never_predicted(build: Build, weights: list[float] | None) -> None:
    model = build(4)
    (x, labels), validation = labelled_vectors(3)
    numbers = np.array([0, 1, 3])
    fit(
        model,
        (x, numbers[labels]),
        (validation[0], numbers[validation[1]]),
        None if weights is None else torch.tensor(weights),
    )
    found = by_model(model, validation[0])
    assert (found[:, 2] < 1e-6).all()
    assert (found.argmax(axis=1) == numbers[validation[1]]).mean() > 0.6


def test_a_feature_that_never_changes_is_no_trouble(build: Build) -> None:
    model = build(2)
    train, validation = labelled_vectors(2)
    for features, _ in (train, validation):
        features[0][:, 3] = 7.0
    fit(model, train, validation)
    assert np.isfinite(by_model(model, validation[0])).all()


def test_a_feature_that_rounding_alone_changes_decides_nothing(build: Build) -> None:
    model = build(2)
    ((x,), labels), ((held_out,), others) = labelled_vectors(2)
    x, held_out = x.copy(), held_out.copy()
    x[:, 0], held_out[:, 0] = 0.5, 0.5
    x[labels == 1, 0] += 2**-24  # the last digit of 0.5, as it happens
    fit(model, ([x], labels), ([held_out], others))
    assert float(model.heads()[0].weight[:, 0].abs().max()) < 1e-3
