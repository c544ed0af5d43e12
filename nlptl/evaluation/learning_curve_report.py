"""What `nlptl compare` found -> a page to send or to print: which system, with how few labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.evaluation.learning_curve_plots import Series, curves_plot, dots_plot, series_of, swatch
from nlptl.evaluation.pages import require_report_packages, write_page


def write_learning_curve_report(
    path: str | os.PathLike[str], results: Mapping[str, Any], details: Mapping[str, str]
) -> None:
    """Writes the page; the same arguments give the same bytes.

    Args:
        path: the HTML file; replaced whole, or left as it was.
        results: what `results.json` holds: `data`, `test` (`examples`, `source`), `label_names`, `seeds`,
            `majority`, `summary`, `points`, `notes`, `command` and `versions`. A point has `labels`, `all`
            (they are all that there are), `winner` (None where the data does not tell), `runner_up`,
            `difference` and `difference_interval`, and `cells`, one a system: `system`, `model`, `strategy`,
            `accuracy`, `interval`, `accuracies` (one a seed), `macro_f1`, `log_loss`, `seconds`,
            `peak_memory_mb` and `error`; figures that a failed cell has not are None.
        details: further names with texts for the end of the page.

    Raises:
        UsageError: the packages of the `report` extra are absent.
        RunFailed: the file cannot be written.
    """
    require_report_packages()
    points = sorted(results["points"], key=lambda point: int(point["labels"]))
    series = series_of(points)
    write_page(
        path,
        "learning_curve_report.html",
        title=f"How many labels, and which model: {results['data']}",
        results=results,
        plots=_plots(series, points, results["majority"]),
        legend=[(each, swatch(each)) for each in series],
        points=[_shown(point) for point in points],
        details={
            "command": results["command"],
            **details,
            "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        },
    )


def _plots(series: Sequence[Series], points: Sequence[Mapping[str, Any]], majority: float) -> list[str]:
    """The plot for a screen or paper and the one for a phone; none where every cell failed."""
    if not any(each.labels for each in series):
        return []
    if len(points) == 1:
        return [dots_plot(series, majority, narrow=narrow) for narrow in (False, True)]
    return [curves_plot(series, points, majority, narrow=narrow) for narrow in (False, True)]


def _shown(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point with the best of its cells first and those that failed last."""
    cells = sorted(point["cells"], key=lambda cell: -1.0 if cell["accuracy"] is None else cell["accuracy"])
    measured = sum(cell["accuracy"] is not None for cell in cells)
    return {**point, "cells": cells[::-1], "measured": measured}
