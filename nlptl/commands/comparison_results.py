"""The cells of a comparison -> its results: the curve with its intervals, as JSON, as CSV and as a table to read."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import nlptl.commands.run_folder as run_folder
from nlptl.commands.command_line import typed_command
from nlptl.commands.library_versions import library_versions
from nlptl.config import CompareConfig
from nlptl.evaluation.intervals import accuracy_interval
from nlptl.evaluation.learning_curves import best_of, plain_summary

if TYPE_CHECKING:
    from nlptl.commands.comparison_plan import System
    from nlptl.data.datasets import Pool

COLUMNS = (
    "labels", "system", "model", "strategy", "accuracy", "low", "high", "macro_f1", "seconds", "peak_memory_mb",
)  # fmt: skip
# What stands behind every figure, said wherever the figures are.
PROTOCOL = (
    "each number of labels counts all the labelled rows that a system has, class by class as far as there are rows: "
    "one sample a seed, the same for all systems; a tenth of it is what the models choose by (TF-IDF chooses by "
    "cross-validation or by the same tenth, and learns from all in the end)",
    "all systems are tested on the same rows; intervals are 95 %, over draws and test rows: score intervals (Wilson's "
    "of an accuracy, Tango's of a difference) of as many rows as the draws are worth together",
    "a winner is named where the 95 % interval of its difference to the second best, on the same draws and rows, "
    "does not hold 0",
    "seconds are those of making a classifier, without testing it; memory is the most that the cell's process held",
)


def curve(
    config: CompareConfig,
    systems: Sequence[System],
    points: Sequence[int],
    seeds: Sequence[int],
    pool: Pool,
    figures: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    *,
    resumed: bool,
) -> dict[str, Any]:
    """The whole of results.json.

    Args:
        figures: of every cell, as its file has them.
    """
    found = {(each["labels"], each["system"], each["seed"]): each for each in figures}
    notes = [*notes, *PROTOCOL]
    if len(seeds) == 1:
        notes.append(
            "there is one draw: intervals are those of the test rows, and say nothing of other draws"
        )
    if len(seeds) == 2:
        notes.append(
            "there are two draws, which say little of others: where draws lie far apart, intervals hold the truth "
            "about 88 times of 100 and not 95; three draws or more do better"
        )
    notes += dict.fromkeys(each["note"] for each in figures if each.get("note"))
    measured, complete = [], []
    for labels in points:
        by_system = {system.name: [found[labels, system.name, seed] for seed in seeds] for system in systems}
        right = {
            name: _right(cells) for name, cells in by_system.items() if all(c["error"] is None for c in cells)
        }
        complete.append(right)
        measured.append(
            {
                "labels": labels,
                "all": labels == len(pool.rows),
                **best_of(right),
                "cells": [_cell(system, by_system[system.name]) for system in systems],
            }
        )
    failed = sum(each["error"] is not None for each in figures)
    if failed:
        notes.append(
            f"{failed} of {len(figures)} cells failed; a system with a failed cell wins nothing at that point; "
            "--resume tries them again"
        )
    _, counts = np.unique(pool.test["label"], return_counts=True)
    output = Path(str(config.output))
    return {
        "data": str(config.data),
        "test": {"examples": len(pool.test), "source": pool.test_source},
        "label_names": pool.label_names,
        "seeds": list(seeds),
        "majority": float(counts.max() / counts.sum()),
        "summary": plain_summary(measured, complete),
        "points": measured,
        "notes": notes,
        "command": shlex.join(["nlptl", "compare", str(output / "config.yaml")])
        if resumed
        else typed_command(),
        "versions": library_versions(),
    }


def write_csv(file: Path, results: Mapping[str, Any]) -> None:
    """One row for each point and system, the accuracies by seed in the last columns."""
    seeds = results["seeds"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"accuracy_seed_{seed}" for seed in seeds)])
    for point in results["points"]:
        for cell in point["cells"]:
            low, high = cell["interval"] or (None, None)
            facts = {**point, **cell, "low": low, "high": high}
            writer.writerow([*(facts[column] for column in COLUMNS), *cell["accuracies"]])
    run_folder.write_text(file, text.getvalue())


def table_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Labels down, systems across, each with the half width of its interval; the winner of a point with a star."""
    names = [cell["system"] for cell in results["points"][0]["cells"]]
    rows = [["labels", *names]]
    for point in results["points"]:
        cells = [_said(cell, point["winner"]) for cell in point["cells"]]
        rows.append([f"{'all ' if point['all'] else ''}{point['labels']:,}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)).rstrip()
    yield "accuracy (95 % interval), mean of the seeds; * where a paired test names a winner"


def _said(cell: Mapping[str, Any], winner: str | None) -> str:
    if cell["accuracy"] is None:
        return "failed"
    low, high = cell["interval"]
    return f"{'*' if cell['system'] == winner else ''}{cell['accuracy']:.3f} ({low:.3f}–{high:.3f})"


def _cell(system: System, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A system at a point: means over the seeds that were measured, None for what was not."""
    done = [cell for cell in cells if cell["error"] is None]
    errors = list(dict.fromkeys(cell["error"] for cell in cells if cell["error"] is not None))

    def mean(key: str) -> float | None:
        return float(np.mean([cell[key] for cell in done])) if done else None

    return {
        "system": system.name,
        "model": system.model,
        "strategy": system.strategy,
        "accuracy": mean("accuracy"),
        "interval": list(accuracy_interval(_right(done))) if done else None,
        "accuracies": [cell.get("accuracy") for cell in cells],
        "macro_f1": mean("macro_f1"),
        "log_loss": mean("log_loss"),
        "seconds": mean("seconds"),
        "peak_memory_mb": max((cell["peak_memory_mb"] for cell in done), default=None),
        "error": "; ".join(errors) or None,
    }


def _right(cells: Sequence[Mapping[str, Any]]) -> NDArray[np.int8]:
    """(seeds, rows) of 0 and 1."""
    return np.array([[each == "1" for each in cell["right"]] for cell in cells], dtype=np.int8)
