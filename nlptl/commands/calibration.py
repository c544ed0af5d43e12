"""`finetune --calibrate`: a trained classifier's temperature, fitted on the validation texts and saved with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from nlptl import processes
from nlptl.commands.prediction import Classifier
from nlptl.commands.run_folder import write_json
from nlptl.data.datasets import Task, encode_labels
from nlptl.evaluation.calibration import fitted_temperature, tempered
from nlptl.evaluation.metrics import classification_metrics


def calibrate(classifier: Classifier, folder: Path, task: Task) -> tuple[dict[str, Any], str]:
    """Fit the temperature to the task's validation texts, and leave it in the classifier and in its folder.

    Returns:
        For the report: `temperature`, `examples`, and `log_loss` and `ece` of these texts `before` and `after`; and a
        sentence that says so.
    """
    rows, _ = encode_labels(task.validation, task.label_names)
    config = classifier.model.config
    config.calibration_temperature = 1.0  # a run that was interrupted here may have saved another
    logits = classifier.logits(classifier.encode(rows))
    labels = np.asarray(rows["label_id"]).astype(np.int64)
    several = classifier.multi_label
    temperature = fitted_temperature(logits, labels, multi_label=several)
    before, after = (
        classification_metrics(
            labels, tempered(logits, value, multi_label=several), classifier.label_names, multi_label=several
        )
        for value in (1.0, temperature)
    )
    config.calibration_temperature = temperature
    processes.first(lambda: _save(folder / "config.json", temperature))
    figures = {
        "temperature": temperature,
        "examples": len(rows),
        "before": {key: before[key] for key in ("log_loss", "ece")},
        "after": {key: after[key] for key in ("log_loss", "ece")},
    }
    return figures, _sentence(figures)


def _save(file: Path, temperature: float) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, {**values, "calibration_temperature": temperature})


def _sentence(figures: dict[str, Any]) -> str:
    before, after = figures["before"], figures["after"]
    if figures["temperature"] == 1:
        return (
            f"probabilities are left as they were trained: on {figures['examples']:,} validation texts no other "
            "temperature than 1 is better, or all of them are right"
        )
    return (
        f"probabilities are calibrated by the temperature {figures['temperature']:.3f}, fitted on the "
        f"{figures['examples']:,} validation texts: log loss {before['log_loss']:.4f} -> {after['log_loss']:.4f}, "
        f"calibration error {before['ece']:.4f} -> {after['ece']:.4f}; the validation figures are of these same "
        "texts, so trust the test figures"
    )
