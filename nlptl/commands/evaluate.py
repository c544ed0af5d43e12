"""`nlptl evaluate`: a classifier and labelled texts -> figures with intervals, and a page to show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from numpy.typing import NDArray

import nlptl.commands.run_folder as run_folder
from nlptl import processes
from nlptl.commands.evaluation_details import evaluation_details
from nlptl.commands.forecast import length_distribution
from nlptl.commands.invocation import Invocation
from nlptl.commands.output_lock import locks_released
from nlptl.commands.paths import check_output_apart
from nlptl.commands.prediction import Classifier, load_classifier, measured
from nlptl.config import EvaluateConfig
from nlptl.data.datasets import Columns, encode_labels, load_rows
from nlptl.errors import DataError, ModelError, ThresholdMissed, UsageError
from nlptl.evaluation.comparison import paired_comparison

OUTPUTS = run_folder.Outputs(("metrics.json", "predictions.parquet", "report.html"))


@locks_released()
def evaluate(config: EvaluateConfig, invocation: Invocation) -> dict[str, Any]:
    """Measure a run on labelled data; beside a second run, where one is named."""
    if config.model is None or config.data is None:
        missing = "--model" if config.model is None else "--data"
        raise UsageError(
            f"{missing} is missing", "nlptl evaluate", "for example --model runs/a --data test.csv"
        )
    check_output_apart(config, config.output)
    columns = Columns(config.text_column, config.text_pair_column, config.label_column)
    rows, notes = load_rows(config.data, columns=columns, labels="required", offline=config.offline)
    classifier = load_classifier(config.model, config)
    other = None if config.compare is None else _second(config.compare, classifier, config)
    if isinstance(rows[0]["label"], list) != classifier.multi_label:
        kinds = ("one label a text", "lists of labels")
        cause = f"the model gives {kinds[classifier.multi_label]} and the data has {kinds[not classifier.multi_label]}"
        raise DataError(cause, f"in {config.data}", "name another --label-column or another model")
    known, more = encode_labels(
        rows, classifier.label_names, unknown=config.unknown_labels, where=f"in {config.data}"
    )
    notes = [*notes, *more]
    encoded = classifier.encode(known)
    truncation = encoded.note("texts")
    notes += [truncation] if truncation else []
    if invocation.dry_run:
        lengths = np.array([len(encoding["input_ids"]) for encoding in encoded.encodings] or [0])
        return {
            "command": "evaluate",
            "rows": len(known),
            "notes": notes,
            "text_lengths": length_distribution(lengths),
        }
    folder = None
    if config.output is not None:
        from nlptl.evaluation.pages import require_report_packages

        require_report_packages()
        folder = run_folder.open_run_folder(
            config.output, resume=False, force=invocation.force, outputs=OUTPUTS
        )
    for note in notes:
        invocation.reporter.note(note)
    metrics, probabilities = measured(classifier, known, encoded, invocation.reporter)
    report = dict(metrics)
    if other is not None:
        report["comparison"] = _comparison(known, classifier, other, probabilities, invocation)
    if folder is not None and processes.is_leader():
        details = evaluation_details(config, encoded, notes)
        _write(
            folder, config, report, known, classifier, probabilities, {"command": invocation.call, **details}
        )
    if config.min_accuracy is not None and metrics["accuracy"] < config.min_accuracy:
        missed = ThresholdMissed(
            f"accuracy {metrics['accuracy']:.4f} is below the {config.min_accuracy:g} asked for",
            str(config.data),
            "see the figures above",
            report,
        )
        raise processes.reported_once(missed)
    return report


def _second(name: str, classifier: Classifier, config: EvaluateConfig) -> Classifier:
    """The run to compare with.

    Raises:
        ModelError: it is no classifier, or one of other labels.
    """
    other = load_classifier(name, config)
    if sorted(other.label_names) != sorted(classifier.label_names):
        raise ModelError(
            f"its labels are {', '.join(other.label_names)} and those of {config.model} "
            f"{', '.join(classifier.label_names)}",
            name,
            "compare runs that were trained on the same labels",
        )
    return other


def _comparison(
    rows: Dataset,
    classifier: Classifier,
    other: Classifier,
    probabilities: NDArray[np.float32],
    invocation: Invocation,
) -> dict[str, Any]:
    """The same rows through the second run: difference of accuracies (the first less the second)."""
    theirs = other.probabilities(other.encode(rows), invocation.reporter)
    theirs = theirs[:, [other.label_names.index(name) for name in classifier.label_names]]
    decide = (
        (lambda p: (p >= 0.5).astype(np.int64)) if classifier.multi_label else (lambda p: p.argmax(axis=1))
    )
    labels = np.asarray(rows["label_id"]).astype(np.int64)
    return paired_comparison(labels, decide(probabilities), decide(theirs))


def _write(
    folder: Path,
    config: EvaluateConfig,
    report: dict[str, Any],
    rows: Dataset,
    classifier: Classifier,
    probabilities: NDArray[np.float32],
    details: Mapping[str, str],
) -> None:
    from nlptl.evaluation.report import write_report

    several = classifier.multi_label
    decided = [classifier.decide(p) for p in probabilities]
    columns: dict[str, Any] = {
        "row": rows["row"],
        "text": rows["text"],
        "label": rows["label"],
        "prediction": decided,
        "probabilities": [p.tolist() for p in probabilities],
    }
    if not several:
        columns["probability"] = [float(p.max()) for p in probabilities]
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    table = table.replace_schema_metadata({"labels": "\n".join(classifier.label_names)})
    partial = folder / ".predictions.parquet.partial"
    pq.write_table(table, partial)
    partial.replace(folder / "predictions.parquet")
    comparison = report.get("comparison")
    write_report(
        folder / "report.html",
        title=f"{config.model} on {config.data}",
        metrics={key: value for key, value in report.items() if key != "comparison"},
        rows=table,
        details=details,
        comparison=comparison,
    )
    run_folder.write_json(folder / "metrics.json", report)
