"""The figures and the predictions of one evaluation -> a page to send or to print."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nlptl.evaluation.pages import require_report_packages, write_page
from nlptl.evaluation.plots import calibration_plot

MISTAKES_SHOWN = 20
CONFUSIONS_SHOWN = 15
# Beyond this a matrix of counts is megabytes that nobody can read; the largest confusions say it.
MATRIX_CLASSES = 200
# Beyond this the weakest classes come first, and the largest confusions are listed beside the matrix.
MANY_CLASSES = 20
# A longer text is folded behind its beginning, and a book is cut, which the page says.
TEXT_SHOWN, TEXT_KEPT = 280, 20_000


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    metrics: Mapping[str, Any],
    rows: pa.Table | Iterable[Mapping[str, Any]],
    details: Mapping[str, str],
    comparison: Mapping[str, Any] | None = None,
) -> None:
    """Writes the report of one evaluation; the same arguments give the same bytes.

    Args:
        path: the HTML file; replaced whole, or left as it was.
        title: the page's heading.
        metrics: what `classification_metrics` returned.
        rows: the predictions, read once, so that a stream will do: `row`, `text`, `label`, `prediction`
            and `probability`, that of the prediction. Where a row may have several labels, `label` and
            `prediction` are lists of names, and `probabilities`, one a class in the order of `per_class`,
            takes the place of `probability`.
        details: what it takes to understand and repeat the run, in order: notes on the data, versions, the
            command (under the key `command`, set as code).
        comparison: what `paired_comparison` returned, this run minus the other.

    Raises:
        ValueError: there are not as many rows as `metrics` has examples.
        UsageError: the packages of the `report` extra are absent.
        RunFailed: the file cannot be written.
    """
    require_report_packages()
    several = metrics["confusion_matrix"] is None
    confidence, correct, mistakes = _read_predictions(rows, list(metrics["per_class"]) if several else None)
    decisions = metrics["examples"] * (len(metrics["per_class"]) if several else 1)
    if len(confidence) != decisions:
        raise ValueError(f"the figures are of {decisions} decisions, the rows of {len(confidence)}")
    write_page(
        path,
        "report.html",
        title=title,
        metrics=metrics,
        comparison=comparison,
        details=details,
        matrix=None if several else _matrix(metrics["confusion_matrix"]),
        confusions=[] if several else _largest_confusions(metrics["confusion_matrix"]),
        per_class=_per_class(metrics["per_class"]),
        majority=None if several else _majority(metrics),
        calibration_plot=calibration_plot(confidence, correct),
        mean_confidence=float(np.mean(confidence)),
        share_correct=float(np.mean(correct)),
        mistakes=[_shown(row) for row in mistakes],
        mistakes_in_all=metrics["examples"] - round(metrics["accuracy"] * metrics["examples"]),
        many_classes=MANY_CLASSES,
    )


def _records(rows: pa.Table | Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    if not isinstance(rows, pa.Table):
        yield from rows
        return
    for batch in rows.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _read_predictions(
    rows: pa.Table | Iterable[Mapping[str, Any]], classes: list[str] | None
) -> tuple[list[float], list[bool], list[Mapping[str, Any]]]:
    """Confidence and correctness of each decision, and the rows of the surest mistakes, surest first.

    A decision is a row or, where a row may have several labels and `classes` lists them, a row and a class.
    """
    confidence: list[float] = []
    correct: list[bool] = []

    def mistakes() -> Iterator[tuple[float, int, dict[str, Any]]]:
        for position, row in enumerate(_records(rows)):
            if classes is None:
                sure, right = [row["probability"]], [row["label"] == row["prediction"]]
            else:
                chosen = [name in row["prediction"] for name in classes]
                sure = [p if yes else 1 - p for p, yes in zip(row["probabilities"], chosen, strict=True)]
                right = [(name in row["label"]) == yes for name, yes in zip(classes, chosen, strict=True)]
            confidence.extend(sure)
            correct.extend(right)
            if not all(right):
                surest = max(s for s, r in zip(sure, right, strict=True) if not r)
                # Minus the position: of equals, the earlier row comes first, and rows are never compared.
                yield surest, -position, {**row, "confidence": surest}

    surest_first = heapq.nlargest(MISTAKES_SHOWN, mistakes())
    return confidence, correct, [row for _, _, row in surest_first]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    text = row["text"] or ""
    return {
        "row": row["row"],
        "label": _names(row["label"]),
        "prediction": _names(row["prediction"]),
        "confidence": row["confidence"],
        "text": text[:TEXT_KEPT],
        "beginning": text[:TEXT_SHOWN].rstrip() if len(text) > TEXT_SHOWN else None,
        "characters": len(text),
        "left_out": max(0, len(text) - TEXT_KEPT),
    }


def _names(label: Any) -> list[str]:
    return [str(name) for name in label] if isinstance(label, list | tuple) else [str(label)]


def _matrix(confusion: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """A row a true class: its name, and for each predicted class the count and its share in percent."""
    if len(confusion["labels"]) > MATRIX_CLASSES:
        return None
    return [
        {"label": label, "cells": [(n, round(100 * n / max(1, sum(counts)))) for n in counts]}
        for label, counts in zip(confusion["labels"], confusion["counts"], strict=True)
    ]


def _largest_confusions(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = confusion["labels"]
    wrong = [
        {"label": names[i], "prediction": names[j], "count": n, "share": n / sum(counts)}
        for i, counts in enumerate(confusion["counts"])
        for j, n in enumerate(counts)
        if n and i != j
    ]
    return heapq.nlargest(CONFUSIONS_SHOWN, wrong, key=lambda each: each["count"])


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    listed = list(per_class.items())
    return sorted(listed, key=lambda each: each[1]["f1"]) if len(listed) > MANY_CLASSES else listed


def _majority(metrics: Mapping[str, Any]) -> tuple[str, float]:
    """The commonest class of the rows and the accuracy of always answering with it."""
    name, figures = max(metrics["per_class"].items(), key=lambda each: each[1]["support"])
    return name, figures["support"] / metrics["examples"]
