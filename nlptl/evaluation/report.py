"""Figures -> one HTML page that stands alone: no network, no script, one file to send or to print."""

from __future__ import annotations

import heapq
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nlptl.errors import RunFailed, UsageError
from nlptl.evaluation.metrics import CALIBRATION_BINS, calibration_bins, wilson_interval

MISTAKES_SHOWN = 20
CONFUSIONS_SHOWN = 15
# Beyond this a matrix of counts is megabytes that nobody can read; the largest confusions say it.
MATRIX_CLASSES = 200
# Beyond this the weakest classes come first, and the largest confusions are listed beside the matrix.
MANY_CLASSES = 20
# A longer text is folded behind its beginning, and a book is cut, which the page says.
TEXT_SHOWN, TEXT_KEPT = 280, 20_000

# Colours that stand in the plot for what the page's style sheet decides, in light and in dark.
_INK, _ACCENT = "#010203", "#040506"


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
    import jinja2

    several = metrics["confusion_matrix"] is None
    confidence, correct, mistakes = _read_predictions(rows, list(metrics["per_class"]) if several else None)
    decisions = metrics["examples"] * (len(metrics["per_class"]) if several else 1)
    if len(confidence) != decisions:
        raise ValueError(f"the figures are of {decisions} decisions, the rows of {len(confidence)}")
    page = (
        jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        .from_string(files("nlptl.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
        .render(
            title=title,
            metrics=metrics,
            comparison=comparison,
            details=details,
            matrix=None if several else _matrix(metrics["confusion_matrix"]),
            confusions=[] if several else _largest_confusions(metrics["confusion_matrix"]),
            per_class=_per_class(metrics["per_class"]),
            majority=None if several else _majority(metrics),
            calibration_plot=_calibration_plot(confidence, correct),
            mean_confidence=float(np.mean(confidence)),
            share_correct=float(np.mean(correct)),
            mistakes=[_shown(row) for row in mistakes],
            mistakes_in_all=metrics["examples"] - round(metrics["accuracy"] * metrics["examples"]),
            many_classes=MANY_CLASSES,
        )
    )
    # A lone surrogate, which JSON data may hold, has no UTF-8: it becomes a question mark.
    _write_whole(Path(path), page.encode("utf-8", "replace"))


def require_report_packages() -> None:
    """Raises UsageError where a report could not be made, before anything is computed for it."""
    absent = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if absent:
        raise UsageError(
            f"the report needs {' and '.join(absent)}", remedy='install with: pip install "nlptl[report]"'
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


def _calibration_plot(confidence: list[float], correct: list[bool]) -> str:
    """The reliability diagram with the histogram of confidences under it, as an SVG element."""
    import matplotlib.style
    from matplotlib.figure import Figure

    count, confidence_sum, right = calibration_bins(confidence, correct)
    filled = count > 0
    n, mean, share = count[filled], confidence_sum[filled] / count[filled], right[filled] / count[filled]
    low, high = wilson_interval(right[filled], n)
    # "default" first, so that the settings of whoever runs this do not change the page.
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "nlptl",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
        ),
    }
    with matplotlib.style.context(["default", style]):
        figure = Figure(figsize=(5.2, 4.4))
        figure.patch.set_visible(False)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        figure.subplots_adjust(left=0.13, right=0.97, top=0.97, bottom=0.11, hspace=0.12)
        upper.plot([0, 1], [0, 1], color=_INK, alpha=0.45, linewidth=1, linestyle=(0, (4, 3)))
        upper.errorbar(
            mean, share, [np.maximum(share - low, 0), np.maximum(high - share, 0)],
            color=_ACCENT, marker="o", markersize=5, linewidth=1.6, elinewidth=1, capsize=0,
        )  # fmt: skip
        upper.set(ylabel="share correct", ylim=(-0.02, 1.02), xlim=(0.5 if min(mean) >= 0.5 else 0.0, 1.01))
        edges = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
        lower.bar(edges, count, width=0.9 / CALIBRATION_BINS, align="edge", color=_ACCENT, alpha=0.55)
        lower.set(xlabel="confidence of the prediction", ylabel="number")
        lower.locator_params(axis="y", nbins=3, integer=True)
        for axes in (upper, lower):
            axes.patch.set_visible(False)
        svg = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", metadata=nothing)
    element = svg.getvalue()
    element = element[element.index("<svg") :]  # without the XML prologue, which HTML does not have
    return element.replace(_INK, "currentColor").replace(_ACCENT, "var(--accent)")


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunFailed(
            f"the report cannot be written ({error.strerror})", f"to {path}", "check the folder and the disk"
        ) from error
