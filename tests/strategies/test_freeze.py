"""Frozen features: computed once, and a head on them that is exactly what scikit-learn fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.strategies.examples import Examples
from nlptl.strategies.finetune import balanced_weights
from nlptl.strategies.freeze import document_features, fit_logistic, fit_mlp
from nlptl.training.progress import Reporter

Part = tuple[list[NDArray[np.float32]], NDArray[np.int64]]


def build(classes: int = 3, head: str = "linear", **options: Any) -> UlmfitForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "embedding_size": 4, "hidden_size": 5, "num_layers": 2}
    return UlmfitForSequenceClassification(
        UlmfitConfig(**sizes, head=head, num_labels=classes, **options)
    ).eval()


def examples(count: int, labels: NDArray[Any] | None = None) -> Examples:
    random = np.random.default_rng(0)
    texts = [random.integers(2, 30, random.integers(1, 20)).astype(np.int32) for _ in range(count)]
    encodings = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in texts]
    return Examples(encodings, np.zeros(count, dtype=np.int64) if labels is None else labels)


def parts(classes: int, heads: int = 1) -> tuple[Part, Part]:
    """Features of very different scales, (60, 12) and (20, 12), and labels that they tell in part."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(classes, 12))
    made = []
    for count in (60, 20):
        labels = np.arange(count) % classes
        features = [
            ((centres[labels] + random.normal(size=(count, 12)) + 2) * np.logspace(-3, 3, 12)).astype(
                np.float32
            )
            for _ in range(heads)
        ]
        made.append((features, labels.astype(np.int64)))
    return made[0], made[1]


def by_model(
    model: UlmfitForSequenceClassification, features: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits = model.classify([torch.from_numpy(x) for x in features])
    several = model.config.problem_type == "multi_label_classification"
    return (logits.sigmoid() if several else logits.softmax(1)).numpy()


# --- features


def test_a_texts_features_are_what_the_body_makes_of_it_alone(tmp_path: Path) -> None:
    model, rows = build(), examples(9)
    found = document_features(model, rows, "fp32", tmp_path / "f.npz", Reporter(True))
    assert [array.shape for array in found] == [(9, 12)]
    with torch.inference_mode():
        for row, encoding in enumerate(rows.encodings):
            (alone,) = model.represent(torch.from_numpy(encoding["input_ids"])[None].long())
            np.testing.assert_allclose(found[0][row], alone[0].numpy(), atol=1e-6)


def test_features_are_read_where_they_lie_and_the_body_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows, file = build(bidirectional=True), examples(5), tmp_path / "cache" / "f.npz"
    first = document_features(model, rows, "fp32", file, Reporter(True))
    assert [path.name for path in file.parent.iterdir()] == ["f.npz"]
    monkeypatch.delattr(UlmfitForSequenceClassification, "represent")
    again = document_features(model, rows, "fp32", file, Reporter(True))
    assert len(first) == len(again) == 2
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


# --- the logistic head


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_head_is_exactly_the_logistic_regression(classes: int, balanced: bool) -> None:
    model = build(classes)
    train, validation = parts(classes)
    chosen = fit_logistic(model, train, validation, balanced=balanced, seed=0)
    scaler = StandardScaler().fit(train[0][0])
    expected = LogisticRegression(
        C=chosen["inverse_regularisation_0"], max_iter=1000, class_weight="balanced" if balanced else None
    ).fit(scaler.transform(train[0][0]), train[1])
    probabilities = expected.predict_proba(scaler.transform(validation[0][0]))
    np.testing.assert_allclose(by_model(model, validation[0]), probabilities, atol=1e-5)


def test_the_strength_is_the_one_that_validation_texts_like_best(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(3)
    train, validation = parts(3)

    def loss() -> float:
        probabilities = by_model(model, validation[0])
        return float(-np.log(probabilities[np.arange(20), validation[1]]).mean())

    fit_logistic(model, train, validation, balanced=False, seed=0)
    best = loss()
    for strength in (0.0001, 0.01, 1.0, 10.0):
        monkeypatch.setattr("nlptl.strategies.freeze.INVERSE_REGULARISATION", (strength,))
        fit_logistic(model, train, validation, balanced=False, seed=0)
        assert loss() >= best - 1e-6


def test_each_direction_has_its_own_head() -> None:
    model = build(3, bidirectional=True)
    train, validation = parts(3, heads=2)
    chosen = fit_logistic(model, train, validation, balanced=False, seed=0)
    assert set(chosen) == {"inverse_regularisation_0", "inverse_regularisation_1"}
    apart = []
    for number in range(2):
        scaler = StandardScaler().fit(train[0][number])
        solver = LogisticRegression(C=chosen[f"inverse_regularisation_{number}"], max_iter=1000)
        solver.fit(scaler.transform(train[0][number]), train[1])
        apart.append(solver.predict_proba(scaler.transform(validation[0][number])))
    np.testing.assert_allclose(by_model(model, validation[0]), np.mean(apart, axis=0), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Label not 2 is present")
def test_several_labels_are_one_regression_a_label() -> None:
    model = build(3, problem_type="multi_label_classification")
    (x, _), (x_validation, _) = parts(3)
    random = np.random.default_rng(2)
    labels, validation_labels = (random.integers(0, 2, (count, 3)).astype(np.int64) for count in (60, 20))
    labels[:, 2] = 0  # nobody has it: its probability is nil
    chosen = fit_logistic(model, (x, labels), (x_validation, validation_labels), balanced=False, seed=0)
    found = by_model(model, x_validation)
    scaler = StandardScaler().fit(x[0])
    solver = LogisticRegression(C=chosen["inverse_regularisation_0"], max_iter=1000)
    expected = OneVsRestClassifier(solver).fit(scaler.transform(x[0]), labels[:, :2])
    np.testing.assert_allclose(
        found[:, :2], expected.predict_proba(scaler.transform(x_validation[0])), atol=1e-5
    )
    assert (found[:, 2] < 1e-6).all()


def test_a_class_without_a_training_row_is_never_predicted() -> None:
    model = build(4)
    (x, labels), validation = parts(3)
    renumbered = np.array([0, 1, 3])
    fit_logistic(
        model, (x, renumbered[labels]), (validation[0], renumbered[validation[1]]), balanced=False, seed=0
    )
    found = by_model(model, validation[0])
    assert (found[:, 2] < 1e-6).all()
    assert (found.argmax(axis=1) == renumbered[validation[1]]).mean() > 0.6


def test_a_feature_that_never_changes_is_no_trouble() -> None:
    model = build(2)
    train, validation = parts(2)
    for features, _ in (train, validation):
        features[0][:, 3] = 7.0
    fit_logistic(model, train, validation, balanced=False, seed=0)
    assert np.isfinite(by_model(model, validation[0])).all()


# --- the mlp head


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., UlmfitForSequenceClassification]:
    monkeypatch.setattr("nlptl.strategies.freeze.MLP_EPOCHS", 40)

    def fit(seed: int = 0, **options: Any) -> UlmfitForSequenceClassification:
        model = build(3, head="blocks")
        train, validation = parts(3)
        fit_mlp(model, train, validation, seed=seed, class_weights=None, **options)
        return model

    return fit


def test_the_mlp_learns_is_left_in_evaluation_mode_and_follows_the_seed(
    fitted: Callable[..., UlmfitForSequenceClassification],
) -> None:
    _, (x, labels) = parts(3)
    model = fitted()
    assert not model.head.training
    probabilities = by_model(model, x)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.6
    np.testing.assert_array_equal(by_model(fitted(), x), probabilities)
    assert not np.array_equal(by_model(fitted(seed=1), x), probabilities)


def test_the_mlp_leaves_the_body_alone(fitted: Callable[..., UlmfitForSequenceClassification]) -> None:
    before, after = build(3, head="blocks").encoder.state_dict(), fitted().encoder.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_the_mlp_of_several_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlptl.strategies.freeze.MLP_EPOCHS", 30)
    model = build(3, head="blocks", problem_type="multi_label_classification")
    (x, labels), (x_validation, validation_labels) = parts(3)
    several, validation_several = (
        np.eye(3, dtype=np.int64)[labels],
        np.eye(3, dtype=np.int64)[validation_labels],
    )
    fit_mlp(model, (x, several), (x_validation, validation_several), class_weights=None, seed=0)
    assert ((by_model(model, x_validation) >= 0.5) == (validation_several > 0)).mean() > 0.75


def test_the_mlp_with_weights_finds_a_rare_label_more_often() -> None:
    train, validation = (([np.zeros((60, 12), dtype=np.float32)], several_labels()) for _ in range(2))
    found = []
    for weights in (None, balanced_weights(several_labels(), 2)):
        model = build(2, head="blocks", problem_type="multi_label_classification")
        fit_mlp(model, train, validation, class_weights=weights, seed=0)
        found.append(by_model(model, train[0])[0, 0])
    assert found[1] > found[0] + 0.1


def several_labels() -> NDArray[np.int64]:
    """Sixty texts of which a tenth has the first label and a half the second."""
    labels = np.zeros((60, 2), dtype=np.int64)
    labels[:6, 0], labels[::2, 1] = 1, 1
    return labels
