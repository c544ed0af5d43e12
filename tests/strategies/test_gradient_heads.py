"""Heads trained by gradients: what is chosen, that they learn, stop, follow the seed and heed the classes' weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlptl.errors import RunFailed
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.strategies.class_weights import balanced_weights, weighted_loss
from nlptl.strategies.examples import Examples
from nlptl.strategies.gradient_heads import (
    MLP,
    TOKEN_HEAD,
    DocumentVectors,
    FitPlan,
    HeadInput,
    LabelledInput,
    Setting,
    fit_heads,
)
from nlptl.strategies.token_features import token_features
from nlptl.training.inference import class_probabilities
from nlptl.training.progress import Reporter
from tests.strategies.vectors import Part, by_model, labelled_vectors, several_labels

Build = Callable[..., UlmfitForSequenceClassification]
SHORT = dataclasses.replace(MLP, epochs=40)


def fit_mlp(
    model: UlmfitForSequenceClassification,
    train: Part,
    validation: Part,
    plan: FitPlan = SHORT,
    seed: int = 0,
    class_weights: Tensor | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, float]]:
    learnt, measured = (
        [LabelledInput(DocumentVectors(x), labels, class_weights) for x in features]
        for features, labels in (train, validation)
    )
    return fit_heads(model, plan, learnt, measured, seed, reporter or Reporter(quiet=True))


# --- on document vectors


def test_the_mlp_learns_is_left_in_evaluation_mode_and_follows_the_seed(build: Build) -> None:
    train, (x, labels) = labelled_vectors(3)
    models = [build(3, "blocks") for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit_mlp(model, train, (x, labels), seed=seed)
    assert not models[0].head.training
    probabilities = [by_model(model, x) for model in models]
    assert (probabilities[0].argmax(axis=1) == labels).mean() > 0.6
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    assert not np.array_equal(probabilities[0], probabilities[2])


def test_the_best_setting_and_epoch_by_validation_loss_are_kept(build: Build) -> None:
    train, validation = labelled_vectors(3)
    weights = torch.tensor([0.2, 1.0, 3.0])
    losses = []
    for settings in (SHORT.settings, *((setting,) for setting in SHORT.settings)):
        model = build(3, "blocks")
        plan = dataclasses.replace(SHORT, settings=settings)
        chosen = fit_mlp(model, train, validation, plan, class_weights=weights)
        with torch.inference_mode():
            scores = model.classify([torch.from_numpy(validation[0][0])])
        losses.append(float(weighted_loss(scores, torch.from_numpy(validation[1]), weights)))
        rerun = build(3, "blocks")
        setting = Setting(chosen[0]["learning_rate"], chosen[0]["weight_decay"])
        again = dataclasses.replace(SHORT, settings=(setting,), epochs=int(chosen[0]["epoch"]))
        fit_mlp(rerun, train, validation, again, class_weights=weights)
        np.testing.assert_array_equal(by_model(rerun, validation[0]), by_model(model, validation[0]))
    assert losses[0] == min(losses[1:])


def test_a_setting_is_given_up_when_it_gets_no_better(build: Build) -> None:
    class Steps(Reporter):
        done: list[int] = []

        def advance(self, done: int, figures: str, seconds_left: float | None = None) -> None:
            self.done.append(done)

    train, (x, _) = labelled_vectors(3)
    noise = np.random.default_rng(5).integers(0, 3, len(x[0]))
    reporter = Steps(quiet=True)
    plan = dataclasses.replace(MLP, settings=(Setting(1e-2, 0.0),), epochs=1000, patience=3)
    (chosen,) = fit_mlp(build(3, "blocks"), train, (x, noise), plan, reporter=reporter)
    assert len(reporter.done) == chosen["epoch"] + 3


def test_the_mlp_of_several_labels(build: Build) -> None:
    model = build(3, "blocks", problem_type="multi_label_classification")
    (x, labels), (x_validation, validation_labels) = labelled_vectors(3)
    identity = np.eye(3, dtype=np.int64)
    fit_mlp(model, (x, identity[labels]), (x_validation, identity[validation_labels]))
    found = by_model(model, x_validation) >= 0.5
    assert (found == (identity[validation_labels] > 0)).mean() > 0.75


def test_the_mlp_with_weights_finds_a_rare_label_more_often(build: Build) -> None:
    """Which it would not if the epoch were chosen by a loss without them."""
    train, validation = (([np.zeros((60, 12), dtype=np.float32)], several_labels()) for _ in range(2))
    found = []
    for weights in (None, balanced_weights(several_labels(), 2)):
        model = build(2, "blocks", problem_type="multi_label_classification")
        fit_mlp(model, train, validation, class_weights=weights)
        found.append(by_model(model, train[0])[0, 0])
    assert found[0] < 0.3
    assert found[1] == pytest.approx(0.5, abs=0.1)


def test_features_that_are_not_finite_end_the_run_with_a_reason(build: Build) -> None:
    train, validation = labelled_vectors(3)
    train[0][0][:, 2] = np.inf
    with pytest.raises(RunFailed, match="not finite"):
        fit_mlp(build(3, "blocks"), train, validation)


# --- on token vectors


def marked(count: int, seed: int) -> Examples:
    """Texts of random ids; the label is whether a certain one is among them."""
    random = np.random.default_rng(seed)
    texts = [random.integers(3, 29, random.integers(2, 12)) for _ in range(count)]
    labels = np.arange(count) % 2
    for ids, label in zip(texts, labels, strict=True):
        if label:
            ids[random.integers(len(ids))] = 29
    return Examples([{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in texts], labels)


def on_tokens(
    model: UlmfitForSequenceClassification,
    parts: Sequence[Examples],
    labels: Sequence[NDArray[Any]],
    folder: Path,
) -> list[dict[str, float]]:
    names = [folder / str(number) for number in range(len(parts))]
    vectors = token_features(model, parts, "fp32", names, Reporter(quiet=True))
    train, validation = (
        [LabelledInput(head, of, None) for head in part] for part, of in zip(vectors, labels, strict=True)
    )
    plan = dataclasses.replace(TOKEN_HEAD, settings=(Setting(1e-2, 0.0),), epochs=15, patience=15)
    return fit_heads(model, plan, train, validation, 0, Reporter(quiet=True))


@pytest.mark.parametrize("several", [False, True])
def test_a_token_head_finds_the_token_that_matters_in_texts_of_any_length(
    build: Build, tmp_path: Path, several: bool
) -> None:
    problem = "multi_label_classification" if several else "single_label_classification"
    model = build(2, "bilstm-attention", bidirectional=several, problem_type=problem)
    with torch.no_grad():
        for encoder, _ in model.directions():
            encoder.embedding.weight.normal_()
    parts = (marked(150, 0), marked(40, 1))
    labels = [np.eye(2, dtype=np.int64)[part.labels] if several else part.labels for part in parts]
    chosen = on_tokens(model, parts, labels, tmp_path)
    assert len(chosen) == 1 + several
    assert not any(module.training for module in model.modules())
    probabilities = class_probabilities(model, parts[1].encodings, "fp32")
    assert (probabilities.argmax(axis=1) == parts[1].labels).mean() > 0.9


def test_a_token_head_follows_the_seed(build: Build, tmp_path: Path) -> None:
    found = []
    for number in range(2):
        model, parts = build(2, "bilstm-attention"), (marked(20, 0), marked(10, 1))
        on_tokens(model, parts, [part.labels for part in parts], tmp_path / str(number))
        found.append(class_probabilities(model, parts[1].encodings, "fp32"))
    np.testing.assert_array_equal(*found)


def test_every_input_can_be_read_by_its_head() -> None:
    inputs: HeadInput = DocumentVectors(np.arange(6, dtype=np.float32).reshape(3, 2))
    (x,) = inputs.batch([2, 0])
    assert x.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert inputs.lengths == [1, 1, 1]
