"""Every way to use a pretrained model, on the same tasks and rows: the README's table of transfer.

For each task and model `nlptl finetune` is run with each head on frozen features and fine-tuned, beside TF-IDF with
logistic regression. Finished cells are kept in OUTPUT/cells.jsonl and not run again.

usage: python scripts/benchmarks/transfer.py --data FOLDER --models runs/elmo runs/vectors --output runs/transfer

FOLDER holds a folder of train/validation/test files a task (sst2, sst5, trec, imdb), or one `all` file (mr), of which
every tenth row is held out for testing. Of IMDb 1,000 labelled reviews are taken, and every tenth of the test reviews.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

TASKS = ("sst2", "sst5", "mr", "trec", "imdb")
LIMITS = {"imdb": 1000}
WAYS: dict[str, list[str]] = {
    "frozen, logistic": ["--strategy", "freeze", "--head", "logistic"],
    "frozen, mlp": ["--strategy", "freeze", "--head", "mlp"],
    "frozen, bilstm-attention": ["--strategy", "freeze", "--head", "bilstm-attention"],
    "fine-tuned": ["--strategy", "fine-tune"],
}
TFIDF = "TF-IDF"


def task_data(folder: Path, task: str, work: Path) -> Path:
    """The task's own files, a split of its one file, or a part of its many."""
    whole, split = folder / task / "all.parquet", work / "data" / task
    if split.is_dir() or not (whole.is_file() or task in LIMITS):
        return split if split.is_dir() else folder / task
    split.mkdir(parents=True)
    sources = {"train": whole, "test": whole}
    if task in LIMITS:
        sources = {name: folder / task / f"{name}.parquet" for name in sources}
    for name, source in sources.items():
        table = pq.read_table(source)
        tenth = np.arange(table.num_rows) % 10 == 9
        chosen = tenth if name == "test" else ~tenth if source == whole else np.ones_like(tenth)
        pq.write_table(table.filter(chosen), split / f"{name}.parquet")
    return split


def tfidf_cell(data: Path, limit: int | None) -> dict[str, Any]:
    """TF-IDF on the very rows that the other models are trained, tuned and tested on."""
    from nlptl.data.datasets import Columns, encode_labels, load_task
    from nlptl.evaluation.baseline import fit_tfidf
    from nlptl.evaluation.metrics import classification_metrics

    began = time.monotonic()
    task = load_task(str(data), columns=Columns(text="text", label="label"), limit=limit, offline=True)
    assert task.test is not None
    parts = [encode_labels(rows, task.label_names)[0] for rows in (task.train, task.validation, task.test)]
    labels = [np.asarray(rows["label_id"]) for rows in parts]
    model = fit_tfidf(parts[0]["text"], labels[0], parts[1]["text"], labels[1])
    seconds = time.monotonic() - began
    metrics = classification_metrics(labels[2], model.predict_proba(parts[2]["text"]), task.label_names)
    return {"test": metrics, "seconds": seconds}


def nlptl_cell(data: Path, model: Path, way: str, work: Path, limit: int | None) -> dict[str, Any]:
    """One run of `nlptl finetune`."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    line = [sys.executable, "-m", "nlptl", "finetune", "--model", str(model), "--data", str(data), *WAYS[way]]
    line += ["--text-column", "text", "--label-column", "label", "--output", str(run), "--json", "--offline"]
    line += [] if limit is None else ["--limit", str(limit)]
    began = time.monotonic()
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return {"test": report["test"], "validation": report["validation"], "seconds": time.monotonic() - began}


def markdown(cells: list[Mapping[str, Any]]) -> str:
    """Rows of model and way, a column a task: accuracy, its interval, and the seconds of the whole command."""
    tasks = [task for task in TASKS if any(cell["task"] == task for cell in cells)]
    rows = list(dict.fromkeys((cell["model"], cell["way"]) for cell in cells))
    found = {(cell["model"], cell["way"], cell["task"]): cell for cell in cells}
    lines = [["model", "way", *tasks], ["---", "---", *("---" for _ in tasks)]]
    for model, way in rows:
        line = [model, way]
        for task in tasks:
            cell = found.get((model, way, task))
            if cell is None:
                line.append("")
                continue
            low, high = cell["test"]["accuracy_interval"]
            line.append(f"{cell['test']['accuracy']:.3f} ({low:.3f} to {high:.3f}), {cell['seconds']:.0f} s")
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "cells.jsonl"
    cells = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    known = {(cell["model"], cell["way"], cell["task"]) for cell in cells}
    wanted = [(TFIDF, "", task) for task in options.tasks]
    wanted += [(str(m), way, task) for m in options.models for way in options.ways for task in options.tasks]
    for model, way, task in wanted:
        if (model, way, task) in known:
            continue
        data = task_data(options.data, task, options.output)
        limit = LIMITS.get(task)
        if model == TFIDF:
            result = tfidf_cell(data, limit)
        else:
            result = nlptl_cell(data, Path(model), way, options.output, limit)
        cell = {"model": model, "way": way, "task": task, **result}
        cells.append(cell)
        with open(file, "a", encoding="utf-8") as out:
            out.write(json.dumps(cell) + "\n")
        print(
            f"{task}: {model} {way}: {result['test']['accuracy']:.4f}, {result['seconds']:.0f} s",
            file=sys.stderr,
        )
    print(markdown(cells))


if __name__ == "__main__":
    main()
