"""`nlptl compare`: TF-IDF and language models, with few labels and with many, on the same rows: the learning curve."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

import nlptl.commands.run_folder as run_folder
from nlptl import processes
from nlptl.commands.checks import check_hardware
from nlptl.commands.comparison_cells import Cell, ended, in_own_process, measure, tune
from nlptl.commands.comparison_plan import (
    System,
    cell_config,
    check_system,
    chosen_points,
    chosen_systems,
    columns_of,
)
from nlptl.commands.comparison_results import curve, write_csv
from nlptl.commands.invocation import Invocation
from nlptl.commands.output_lock import locks_released
from nlptl.commands.paths import check_output_apart
from nlptl.config import CompareConfig
from nlptl.data.datasets import Columns, Pool, load_pool
from nlptl.data.lm_text import find_lm_text
from nlptl.errors import DataError, RunFailed, UsageError
from nlptl.training.progress import duration

OUTPUTS = run_folder.Outputs(
    ("results.json", "results.csv", "report.html", "cells", "lm", "models", "work"), of_training=True
)


@locks_released()
def compare(config: CompareConfig, invocation: Invocation) -> dict[str, Any]:
    """Measure every system at every point of its learning curve, and say which is best where."""
    if processes.started() > 1:
        raise UsageError("its cells run one after the other", "nlptl compare", "start it as one process")
    check_hardware(config)
    check_output_apart(config, config.output)
    systems = chosen_systems(config)
    pool = load_pool(str(config.data), test=config.test, columns=columns_of(config), offline=config.offline)
    if pool.multi_label:
        cause = "rows with several labels, which are not compared"
        raise DataError(cause, f"in {config.data}", "give data with one label a row")
    points, notes = chosen_points(config, pool)
    systems = [check_system(system, config, pool) for system in systems]
    seeds = [config.seed + number for number in range(config.seeds)]
    notes = [*pool.notes, *notes]
    if invocation.dry_run:
        return _plan(config, systems, points, seeds, pool, notes)
    from nlptl.evaluation.pages import require_report_packages

    require_report_packages()
    folder = run_folder.open_run_folder(
        config.output, resume=invocation.resume, force=invocation.force, outputs=OUTPUTS
    )
    run_folder.begin_or_go_on(folder, config, _fingerprint(config, pool), resume=invocation.resume)
    for note in notes:
        invocation.reporter.note(note)

    work = folder / "work"
    try:
        for name in ("cells", "work/data", "lm", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _write_rows(pool, work)
        if config.lm_text:
            tuned = [_tuned(system, config, folder, invocation) for system in systems]
            systems, said = [system for system, _ in tuned], dict.fromkeys(note for _, note in tuned if note)
            notes += said
        cells = _cells(config, systems, points, seeds, pool, folder)
        figures = _measured(cells, invocation)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for name in ("lm", "models"):
            if (folder / name).is_dir() and not any((folder / name).iterdir()):
                (folder / name).rmdir()
    if all(each["error"] is not None for each in figures):
        raise RunFailed("no cell could be measured", str(folder / "cells"), str(figures[0]["error"]))
    results = curve(config, systems, points, seeds, pool, figures, notes, resumed=invocation.resume)
    _write(folder, config, results)
    return {"output": str(folder), **results}


def _plan(
    config: CompareConfig,
    systems: Sequence[System],
    points: Sequence[int],
    seeds: Sequence[int],
    pool: Pool,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What a dry run says; all that can be checked has been."""
    return {
        "command": "compare",
        "systems": [system.name for system in systems],
        "labels": list(points),
        "seeds": list(seeds),
        "cells": len(points) * len(seeds) * len(systems),
        "rows": len(pool.rows),
        "test_rows": len(pool.test),
        "test": pool.test_source,
        "label_names": pool.label_names,
        "language_models_to_tune": len({s.path for s in systems if s.path}) if config.lm_text else 0,
        "notes": list(notes),
    }


def _fingerprint(config: CompareConfig, pool: Pool) -> str:
    """Of every text and label that the cells read."""
    read = [pool.rows._fingerprint, pool.test._fingerprint]
    if config.lm_text:
        columns = Columns(text=config.text_column)
        text = find_lm_text(config.lm_text, columns, offline=config.offline, columns_if_present=True)
        read.append(text.fingerprint())
    return hashlib.sha256(" ".join(read).encode()).hexdigest()[:24]


def _write_rows(pool: Pool, work: Path) -> None:
    """The rows as files that all cells read."""
    for name, rows in (("train", pool.rows), ("test", pool.test)):
        kept: Dataset = rows.select_columns(
            [c for c in ("text", "text_pair", "label") if c in rows.column_names]
        )
        kept.to_parquet(work / "data" / f"{name}.parquet")


def _tuned(
    system: System, config: CompareConfig, folder: Path, invocation: Invocation
) -> tuple[System, str | None]:
    """The system with its language model tuned on the unlabelled text; and what that took, for the notes.

    Raises:
        RunFailed: it could not be tuned.
    """
    if system.path is None:
        return system, None
    place = folder / "lm" / system.model_slug
    if not run_folder.is_finished(place):
        invocation.reporter.note(f"tuning the language model of {system.model} on the unlabelled text")
        job = cell_config(system, config, folder, pairs=False, limit=None, seed=config.seed).model_copy(
            update={"lm_text": config.lm_text, "lm_tuning": None, "text_column": config.text_column}
        )
        log = folder / "lm" / f"{system.model_slug}.log"
        code = in_own_process(tune, job, place, log=log)
        if code:
            cause = f"the language model of {system.model} could not be tuned ({ended(code, log)})"
            raise RunFailed(cause, str(log), "mend that, then --resume")
        log.unlink(missing_ok=True)
    seconds = (run_folder.read_json(place / "metrics.json") or {})["seconds"]
    note = (
        f"the language model of {system.model} was tuned once on {', '.join(config.lm_text)}, in "
        f"{duration(seconds)}, which the seconds of its cells do not include"
    )
    return replace(system, path=place / "model", is_tuned=True), note


def _cells(
    config: CompareConfig,
    systems: Sequence[System],
    points: Sequence[int],
    seeds: Sequence[int],
    pool: Pool,
    folder: Path,
) -> list[Cell]:
    """The cells, few labels first: what they say is soon there."""
    cells = []
    for labels in points:
        everything = labels == len(pool.rows)
        for seed in seeds:
            for system in systems:
                name = f"{'all' if everything else labels}-{seed}-{system.slug}"
                cells.append(
                    Cell(
                        system=system.name,
                        pretrained=system.path is not None,
                        labels=labels,
                        all=everything,
                        seed=seed,
                        file=folder / "cells" / f"{name}.json",
                        config=cell_config(
                            system,
                            config,
                            folder,
                            pairs=pool.has_pairs,
                            limit=None if everything else labels,
                            seed=seed,
                        ),
                        test=folder / "work" / "data" / "test.parquet",
                        kept=folder / "models" / name if config.keep_models else None,
                    )
                )
    return cells


def _measured(cells: Sequence[Cell], invocation: Invocation) -> list[dict[str, Any]]:
    """The figures of every cell: of those that a former sitting has finished, as they are; failed ones run again."""
    reporter = invocation.reporter
    found = [cell.figures() for cell in cells]
    figures = [each if each is not None and each["error"] is None else None for each in found]
    if done := sum(each is not None for each in figures):
        reporter.note(f"{done:,} of {len(cells):,} cells are there already")
    took: dict[str, tuple[int, float]] = {}  # of each system the labels and the seconds of its last cell
    for place, cell in enumerate(cells):
        if figures[place] is not None:
            continue
        left = _seconds_left([c for c, f in zip(cells, figures, strict=True) if f is None], took)
        about = "" if left is None else f" (about {duration(left)} left)"
        reporter.note(
            f"cell {place + 1} of {len(cells)}: {cell.labels:,} labels, seed {cell.seed}, {cell.system}{about}"
        )
        began = time.monotonic()
        measured = figures[place] = measure(cell)
        took[cell.system] = (cell.labels, time.monotonic() - began)
        if measured["error"] is None:
            reporter.note(
                f"  right {100 * measured['accuracy']:.1f} of 100 times, {duration(measured['seconds'])}, "
                f"{measured['peak_memory_mb']:,.0f} MB"
            )
        else:
            reporter.note(f"  failed: {measured['error']}")
    return [each for each in figures if each is not None]


def _seconds_left(cells: Sequence[Cell], took: dict[str, tuple[int, float]]) -> float | None:
    """What the cells will take if each takes as its system's last one, and longer as it has more labels."""
    if any(cell.system not in took for cell in cells):
        return None
    return sum(took[c.system][1] * max(1.0, c.labels / took[c.system][0]) for c in cells)


def _write(folder: Path, config: CompareConfig, results: dict[str, Any]) -> None:
    from nlptl.evaluation.learning_curve_report import write_learning_curve_report

    write_csv(folder / "results.csv", results)
    details = {"models": ", ".join(config.models), "device": config.device, "precision": config.precision}
    if config.finetune:
        details["keys of finetune"] = ", ".join(f"{key} {value}" for key, value in config.finetune.items())
    write_learning_curve_report(folder / "report.html", results, details)
    run_folder.write_json(folder / "results.json", results)
