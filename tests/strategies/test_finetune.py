"""Fine-tuning: which layers move when, what the best epoch is chosen by, and how classes are weighed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.strategies.examples import Examples
from nlptl.strategies.finetune import fine_tune, validation_figures
from nlptl.training.inference import class_probabilities
from nlptl.training.progress import Reporter
from nlptl.training.runs import TrainingPlan, TrainingResult


def build(**options: Any) -> UlmfitForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 7, "num_layers": 2}
    return UlmfitForSequenceClassification(UlmfitConfig(**sizes, num_labels=2, **options))


def examples(count: int) -> Examples:
    """Texts of random ids; the label is whether the last is among the upper half."""
    random = np.random.default_rng(0)
    texts = [random.integers(2, 30, random.integers(1, 12)).astype(np.int32) for _ in range(count)]
    encodings = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in texts]
    return Examples(encodings, np.array([int(ids[-1] >= 16) for ids in texts]))


def plan(folder: Path, **values: Any) -> TrainingPlan:
    defaults: dict[str, Any] = {
        "stage": "classifier",
        "optimizer": "adamw",
        "output": folder,
        "epochs": 1,
        "learning_rate": 0.02,
        "discriminative_decay": 2.0,
        "schedule": "constant",
        "betas": (0.9, 0.99),
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
        "device": torch.device("cpu"),
        "precision": "fp32",
        "seed": 0,
        "log_steps": 1,
    }
    return TrainingPlan(**{**defaults, **values})


def train(model: UlmfitForSequenceClassification, folder: Path, **values: Any) -> TrainingResult:
    gradual = values.pop("gradual_unfreezing", False)
    weights = values.pop("class_weights", None)
    rows = values.pop("rows", examples(40))
    return fine_tune(
        model,
        rows,
        examples(20),
        plan(folder, **values),
        batch_size=8,
        gradual_unfreezing=gradual,
        class_weights=weights,
        save=model.save_pretrained,
        reporter=Reporter(True),
        resume=False,
    )


def moved(model: UlmfitForSequenceClassification) -> list[bool]:
    """Which layer groups are not what they were built as, bottom to top."""
    groups = zip(model.layer_groups(), build().layer_groups(), strict=True)
    return [any(not torch.equal(now, then) for now, then in zip(*group, strict=True)) for group in groups]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [False, False, False, True]), (2, [False, False, True, True]), (4, [True] * 4)],
)
def test_gradual_unfreezing_trains_one_more_group_an_epoch(
    epochs: int, expected: list[bool], tmp_path: Path
) -> None:
    model = build()
    train(model, tmp_path, epochs=epochs, gradual_unfreezing=True)
    assert moved(model) == expected


def test_without_it_every_group_is_trained_from_the_start_even_one_that_was_frozen(tmp_path: Path) -> None:
    model = build()
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    train(model, tmp_path)
    assert moved(model) == [True] * 4


def test_the_epoch_with_the_best_accuracy_then_log_loss_is_kept(tmp_path: Path) -> None:
    result = train(build(), tmp_path, epochs=6, learning_rate=0.1)
    assert result.epochs == 6
    best = max(result.history, key=lambda figures: (figures["accuracy"], -figures["log_loss"]))
    kept = UlmfitForSequenceClassification.from_pretrained(tmp_path / "model")
    figures = validation_figures(kept, examples(20), "fp32")
    assert figures["accuracy"] == best["accuracy"]
    assert figures["log_loss"] == pytest.approx(best["log_loss"], rel=1e-5)
    assert result.best_step == best["step"]


def test_class_weights_reach_the_loss(tmp_path: Path) -> None:
    shares = []
    for number, weights in enumerate(([1.0, 1.0], [0.02, 1.98])):
        (tmp_path / str(number)).mkdir()
        model = build()
        train(model, tmp_path / str(number), epochs=3, class_weights=torch.tensor(weights))
        shares.append(class_probabilities(model, examples(20).encodings, "fp32")[:, 1].mean())
    assert shares[1] > shares[0] + 0.1


def test_one_row_more_than_a_batch_is_no_trouble(tmp_path: Path) -> None:
    assert train(build(), tmp_path, rows=examples(9)).steps == 1


def test_figures_are_those_of_scikit_learn() -> None:
    model, rows = build().eval(), examples(30)
    probabilities = class_probabilities(model, rows.encodings, "fp32").astype(np.float64)
    figures = validation_figures(model, rows, "fp32")
    assert figures["accuracy"] == accuracy_score(rows.labels, probabilities.argmax(axis=1))
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # to the last digit of float64
    assert figures["log_loss"] == pytest.approx(log_loss(rows.labels, probabilities), rel=1e-5)


def test_class_weights_count_in_the_choice_of_the_epoch(tmp_path: Path) -> None:
    """As they do in the loss; without that the epochs in which a heavy class is neglected look best."""
    weights = torch.tensor([0.2, 1.8])
    result = train(build(), tmp_path, epochs=5, learning_rate=0.1, class_weights=weights)
    best = max(
        result.history, key=lambda figures: (figures["weighted_accuracy"], -figures["weighted_log_loss"])
    )
    assert result.best_step == best["step"]
    kept = UlmfitForSequenceClassification.from_pretrained(tmp_path / "model")
    probabilities = class_probabilities(kept, examples(20).encodings, "fp32").astype(np.float64)
    truth = examples(20).labels
    each = weights.numpy()[truth]
    expected = accuracy_score(truth, probabilities.argmax(axis=1), sample_weight=each)
    assert best["weighted_accuracy"] == pytest.approx(expected)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert best["weighted_log_loss"] == pytest.approx(
        log_loss(truth, probabilities, sample_weight=each), rel=1e-5
    )


def test_class_weights_of_several_labels_weigh_the_texts_that_have_them() -> None:
    model = build(problem_type="multi_label_classification").eval()
    inputs = {"input_ids": torch.tensor([[3, 4], [5, 6]])}
    labels = torch.tensor([[1, 0], [0, 0]])
    weights = torch.tensor([3.0, 0.5])
    with torch.inference_mode():
        outputs = model(**inputs, labels=labels, class_weights=weights)
    expected = F.binary_cross_entropy_with_logits(outputs.logits, labels.float(), pos_weight=weights)
    torch.testing.assert_close(outputs.loss, expected)


def test_an_example_has_a_class_number_or_a_row_of_zeros_and_ones() -> None:
    rows = examples(2)
    assert rows[1]["labels"].dtype == np.int64
    assert rows.lengths == [len(encoding["input_ids"]) for encoding in rows.encodings]
    several = Examples(rows.encodings, np.array([[1, 0], [1, 1]]))
    assert (several[0]["labels"].dtype, several[0]["labels"].tolist()) == (np.float32, [1.0, 0.0])
