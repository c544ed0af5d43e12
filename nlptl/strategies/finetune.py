"""Fine-tune: the whole language model learns the task, lower layers more slowly and later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from nlptl.strategies.class_weights import weighted_figures
from nlptl.strategies.examples import Examples
from nlptl.training.batching import LengthBuckets, padded
from nlptl.training.inference import class_probabilities
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import Precision
from nlptl.training.progress import Reporter
from nlptl.training.runs import Evaluation, TrainingPlan, TrainingResult
from nlptl.training.trainers import ClassifierTrainer
from nlptl.training.unfreezing import GradualUnfreezing, freeze_below


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

    Where classes have weights, they count in the loss, in that accuracy and in that log loss alike.

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
        figures = validation_figures(classifier, validation, plan.precision, class_weights)
        accuracy, log_loss = figures.values()
        return Evaluation(figures, score=(accuracy, -log_loss))

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
    classifier: LayeredClassifier,
    examples: Examples,
    precision: Precision,
    class_weights: Tensor | None = None,
) -> dict[str, float]:
    """Accuracy and log loss to choose the best epoch by; see `weighted_figures`."""
    probabilities = class_probabilities(classifier, examples.encodings, precision)
    return weighted_figures(probabilities.astype(np.float64), examples.labels, class_weights)
