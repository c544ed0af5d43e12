"""Fine-tune: the whole language model learns the task, lower layers more slowly and later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nlptl.strategies.examples import Examples
from nlptl.training.batching import LengthBuckets, padded
from nlptl.training.inference import class_probabilities
from nlptl.training.models import LayeredClassifier
from nlptl.training.progress import Reporter
from nlptl.training.trainers import ClassifierTrainer, Evaluation, TrainingPlan, TrainingResult
from nlptl.training.unfreezing import GradualUnfreezing, freeze_below

LARGEST_LABEL_WEIGHT = 50.0  # a label that next to no text has must not drown the others


def fine_tune(
    classifier: LayeredClassifier,
    train: Examples,
    validation: Examples,
    plan: TrainingPlan,
    *,
    batch_size: int,
    gradual_unfreezing: bool,
    class_weights: Tensor | None,
    save: Callable[[Path], None],
    reporter: Reporter,
    resume: bool,
) -> TrainingResult:
    """Train the classifier end to end; the best by validation accuracy, then log loss, is kept in `model/`.

    Discriminative rates and the schedule are in `plan`; with `gradual_unfreezing` the head alone is trained in the
    first epoch and one more layer group in each after it (Howard & Ruder 2018, section 3.3).

    Raises:
        Interrupted, RunFailed: as `RunTrainer.run`.
    """
    groups = classifier.layer_groups()
    freeze_below(groups, len(groups))
    buckets = LengthBuckets(train.lengths, batch_size, plan.seed)
    pad_token_id = classifier.config.pad_token_id or 0

    def collate(rows: Sequence[Any]) -> dict[str, Tensor]:
        return padded(rows, pad_token_id)

    def evaluate() -> Evaluation:
        figures = validation_figures(classifier, validation, plan)
        return Evaluation(figures, score=(figures["accuracy"], -figures["log_loss"]))

    trainer = ClassifierTrainer(
        classifier,
        plan,
        DataLoader(train, batch_sampler=buckets, collate_fn=collate),
        evaluate=evaluate,
        save=save,
        reporter=reporter,
        callbacks=[GradualUnfreezing(groups)] if gradual_unfreezing else [],
        on_epoch=buckets.set_epoch,
        class_weights=class_weights,
    )
    return trainer.run(resume)


def validation_figures(
    classifier: LayeredClassifier, examples: Examples, plan: TrainingPlan
) -> dict[str, float]:
    """Accuracy and log loss, to choose the best epoch by."""
    probabilities = class_probabilities(classifier, examples.encodings, plan.precision).astype(np.float64)
    floor = np.finfo(np.float32).tiny
    if examples.labels.ndim == 2:
        right = ((probabilities >= 0.5) == (examples.labels > 0)).all(axis=1)
        chosen = np.where(examples.labels > 0, probabilities, 1 - probabilities)
    else:
        right = probabilities.argmax(axis=1) == examples.labels
        chosen = probabilities[np.arange(len(right)), examples.labels]
    return {"accuracy": float(right.mean()), "log_loss": float(-np.log(chosen.clip(floor)).mean())}


def balanced_weights(labels: np.ndarray, classes: int) -> Tensor:
    """What the loss multiplies by so that rare classes count as much as others, (classes,).

    Of class numbers (texts,): weights in inverse proportion to how often each class occurs, 1 on average over the
    examples. Of zeros and ones (texts, classes): for each label the texts without it by those with it, within
    `LARGEST_LABEL_WEIGHT` either way, by which the loss of the texts that have it is to be multiplied.
    """
    if labels.ndim == 2:
        having = labels.sum(axis=0)
        ratio = (len(labels) - having) / np.maximum(having, 1)
        bounded = ratio.clip(1 / LARGEST_LABEL_WEIGHT, LARGEST_LABEL_WEIGHT)
        return torch.tensor(bounded, dtype=torch.float32)
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)
