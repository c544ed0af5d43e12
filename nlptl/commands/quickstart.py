"""`nlptl quickstart`: the main job, offline, on what ships, well within two minutes on two cores."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

import nlptl.commands.run_folder as run_folder
from nlptl.commands.checks import check_hardware
from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.commands.output_lock import locks_released
from nlptl.commands.prediction import load_classifier
from nlptl.config import FinetuneConfig, QuickstartConfig, validated
from nlptl.data.datasets import encode_labels, load_task
from nlptl.evaluation.baseline import fit_tfidf
from nlptl.evaluation.comparison import paired_comparison
from nlptl.evaluation.metrics import classification_metrics

OUTPUTS = run_folder.Outputs(("metrics.json",))  # and the classifier, which is a run of `finetune`
# With 700 short texts a small language model says less than word vectors that have read half a million words of such
# messages; beside them the tickets' own words and pairs. Each word counts by how much it says, once, and moves little.
# Chosen by cross-validation on the training texts.
FINETUNING = {
    "model": "wordvectors-mini",
    "data": "sample",
    "epochs": 8,
    "learning_rate": 0.003,
    "ngrams": 2,
    "architecture": {"pooling": "sif"},
}
EXAMPLES = (
    "I was charged twice for the yearly plan in March, please give one of them back",
    "the camera keeps going offline every night since the update",
    "Parcel says delivered but there is nothing at my door",
)


@locks_released()
def quickstart(config: QuickstartConfig, invocation: Invocation) -> dict[str, Any]:
    """Fine-tune an embedded model on the sample's texts, and set it beside TF-IDF."""
    began = time.monotonic()
    check_hardware(config)
    if invocation.dry_run:
        return {"command": "quickstart", **FINETUNING}
    force = invocation.force or _is_former_default(config)
    folder = run_folder.check_output_folder(config.output, resume=False, force=force, outputs=OUTPUTS)
    run_folder.check_output_folder(folder / "classifier", resume=False, force=force)
    run_folder.open_run_folder(folder, resume=False, force=force, outputs=OUTPUTS)
    common = {"seed": config.seed, "device": config.device, "precision": config.precision, "offline": True}
    classifier = validated(FinetuneConfig, {**FINETUNING, **common, "output": folder / "classifier"})
    trained = finetune(classifier, replace(invocation, force=force))

    task = load_task("sample", seed=config.seed, offline=True)
    assert task.test is not None
    parts = [encode_labels(rows, task.label_names)[0] for rows in (task.train, task.validation, task.test)]
    labels = [np.asarray(rows["label_id"]) for rows in parts]
    tfidf = fit_tfidf(parts[0]["text"], labels[0], parts[1]["text"], labels[1], config.seed)
    baseline = tfidf.predict_proba(parts[2]["text"])
    loaded = load_classifier(trained["model"], config)
    ours = loaded.probabilities(loaded.encode(parts[2]), invocation.reporter)
    predictions = [
        {"text": row["text"], "label": loaded.decide(p), "probability": float(p.max())}
        for row, p in loaded.stream({"text": text} for text in EXAMPLES)
    ]
    report = {
        "output": str(folder),
        "model": trained["model"],
        "seconds": round(time.monotonic() - began, 1),
        "test": trained["test"],
        "tfidf": classification_metrics(labels[2], baseline, task.label_names),
        "comparison": paired_comparison(labels[2], ours.argmax(axis=1), baseline.argmax(axis=1)),
        "predictions": predictions,
    }
    run_folder.write_json(folder / "metrics.json", report)
    return report


def _is_former_default(config: QuickstartConfig) -> bool:
    """Whether the output is the default folder and a quickstart has been there, which needs no `--force` to repeat."""
    said = "output" in config.model_fields_set
    return not said and config.output is not None and run_folder.is_training_run(config.output / "classifier")
