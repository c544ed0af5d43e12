"""One cell of a learning curve: a system, so many labels and a seed, measured in a process of its own.

A process of its own tells what the cell alone takes, and ends alone where memory runs out.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from transformers.utils.logging import disable_progress_bar

import nlptl
import nlptl.commands.run_folder as run_folder
from nlptl.children import end_with_parent
from nlptl.commands.expected_errors import expected_error
from nlptl.commands.finetune import finetune, resolved
from nlptl.commands.invocation import Invocation
from nlptl.commands.language_model_stage import tune_language_model
from nlptl.commands.prediction import load_classifier, measured
from nlptl.commands.tuning_text import tuning_text
from nlptl.config import FinetuneConfig
from nlptl.data.datasets import Columns, encode_labels, load_rows, load_task
from nlptl.errors import Interrupted
from nlptl.training.checkpoints import clear_away
from nlptl.training.precision import resolve_device
from nlptl.training.progress import Reporter
from nlptl.training.runs import peak_memory_mb

# What takes a cell's process longer to import than many a cell takes to train.
LIBRARIES = [__name__, "nlptl.evaluation.baseline", "nlptl.evaluation.metrics"]
QUIET = Invocation(resume=True, reporter=Reporter(quiet=True))


@dataclass(frozen=True)
class Cell:
    """What one process is to measure.

    Attributes:
        system: its name for people.
        pretrained: whether there is a language model in it; TF-IDF has none.
        labels: how many labelled rows it gets; `all`: these are all there are.
        file: that its figures go to.
        config: what `finetune` is told; of TF-IDF the keys about data alone count.
        test: the file of the test rows.
        kept: where its classifier goes, or None to delete it.
    """

    system: str
    pretrained: bool
    labels: int
    all: bool
    seed: int
    file: Path
    config: FinetuneConfig
    test: Path
    kept: Path | None

    @property
    def log(self) -> Path:
        """What the cell's process said, kept where the cell has failed."""
        return self.file.with_suffix(".log")

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the cell before it runs."""
        return {"labels": self.labels, "all": self.all, "seed": self.seed, "system": self.system}

    def figures(self) -> dict[str, Any] | None:
        """What its file says, or None where there is none."""
        return run_folder.read_json(self.file)


def measure(cell: Cell) -> dict[str, Any]:
    """Run a cell to its end in a process of its own; its figures, or its error, are in its file afterwards."""
    run, cache = _work(cell)
    for folder in (run, cache):
        shutil.rmtree(folder, ignore_errors=True)
    cell.file.unlink(missing_ok=True)
    code = in_own_process(_measure, cell, log=cell.log)
    figures = cell.figures()
    if figures is None:
        figures = {**cell.facts, "error": ended(code, cell.log)}
        run_folder.write_json(cell.file, figures)
    if figures["error"] is None:
        cell.log.unlink(missing_ok=True)
    return figures


def tune(config: FinetuneConfig, place: Path) -> None:
    """Tune a model's language model on the unlabelled text alone, once for all its cells."""
    config, sources = resolved(config)
    tune_language_model("lm", place, sources[0], tuning_text(config), config, QUIET)


def in_own_process(work: Callable[..., None], *arguments: Any, log: Path) -> int:
    """Call a function of a module in a new process, what it says going to `log`; the exit code of the process."""
    log.write_bytes(b"")  # where it may not be written, this process can still say so
    process = _context().Process(target=_begun, args=(work, arguments, log))
    process.start()
    try:
        process.join()
    finally:
        if process.is_alive():
            process.kill()
            process.join()
    return int(process.exitcode or 0)


def _context() -> ForkServerContext | SpawnContext:
    """How processes begin: as copies of one that has imported the libraries once, where the system can copy any."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def ended(code: int, log: Path) -> str:
    """Why a process ended before its work was done."""
    if code < 0:
        memory = ", as it happens where memory runs out" if code == -9 else ""
        return f"its process was ended by signal {-code}{memory}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1][:300] if lines else f"its process ended with exit code {code}"


def _begun(work: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> None:
    end_with_parent()
    with open(log, "wb") as said:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(said.fileno(), stream.fileno())
    nlptl.register_families()
    disable_progress_bar()
    work(*arguments)


def _measure(cell: Cell) -> None:
    os.environ["NLPTL_CACHE"] = str(_work(cell)[1])  # what another run has computed would take no time here
    try:
        figures = (_of_pretrained if cell.pretrained else _of_tfidf)(cell)
        if (
            cell.kept is not None and cell.pretrained
        ):  # before the figures, by which the cell is known to be done
            clear_away(cell.kept, afresh=True)
            os.replace(_work(cell)[0] / "model", cell.kept)
    except Interrupted:
        raise
    except Exception as error:
        traceback.print_exc()
        figures = {"error": str(expected_error(error))}
    run_folder.write_json(cell.file, {**cell.facts, **figures})


def _of_pretrained(cell: Cell) -> dict[str, Any]:
    began = time.monotonic()
    run = finetune(cell.config, QUIET)
    seconds = time.monotonic() - began
    classifier = load_classifier(run["model"], cell.config)
    rows = _test_rows(cell, classifier.label_names)
    encoded = classifier.encode(rows)
    metrics, probabilities = measured(classifier, rows, encoded, QUIET.reporter)
    return _figures(cell, rows, metrics, probabilities, seconds, encoded.note("test texts"))


def _of_tfidf(cell: Cell) -> dict[str, Any]:
    from nlptl.evaluation.baseline import fit_tfidf
    from nlptl.evaluation.metrics import classification_metrics

    config = cell.config
    began = time.monotonic()
    task = load_task(
        str(config.data),
        columns=Columns(config.text_column, config.text_pair_column, config.label_column),
        limit=config.limit,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        offline=True,
    )
    train, validation = (encode_labels(rows, task.label_names)[0] for rows in (task.train, task.validation))
    model = fit_tfidf(
        _texts(train),
        np.asarray(train["label_id"]),
        _texts(validation),
        np.asarray(validation["label_id"]),
        config.seed,
    )
    seconds = time.monotonic() - began
    rows = _test_rows(cell, task.label_names)
    probabilities = model.predict_proba(_texts(rows))
    metrics = classification_metrics(rows["label_id"], probabilities, task.label_names)
    return _figures(cell, rows, metrics, probabilities, seconds, None)


def _texts(rows: Dataset) -> list[str]:
    """The texts; of pairs both in one, since to TF-IDF a text is a bag of its words."""
    if "text_pair" not in rows.column_names:
        return list(rows["text"])
    return [f"{text} {other}" for text, other in zip(rows["text"], rows["text_pair"], strict=True)]


def _test_rows(cell: Cell, label_names: list[str]) -> Dataset:
    config = cell.config
    columns = Columns(config.text_column, config.text_pair_column, config.label_column)
    rows, _ = load_rows(str(cell.test), columns=columns, labels="required", offline=True)
    return encode_labels(rows, label_names)[0]


def _figures(
    cell: Cell,
    rows: Dataset,
    metrics: dict[str, Any],
    probabilities: NDArray[Any],
    seconds: float,
    note: str | None,
) -> dict[str, Any]:
    right = probabilities.argmax(axis=1) == np.asarray(rows["label_id"])
    device = resolve_device(cell.config.device if cell.pretrained else "cpu")
    return {
        **{name: metrics[name] for name in ("accuracy", "macro_f1", "log_loss")},
        "seconds": round(seconds, 2),
        "peak_memory_mb": round(peak_memory_mb(device), 1),
        "right": "".join("01"[int(each)] for each in right),  # a test row each
        "note": note,
        "error": None,
    }


def _work(cell: Cell) -> tuple[Path, Path]:
    """The folder of the cell's run, and that of what it would keep for later runs."""
    assert cell.config.output is not None
    return cell.config.output, cell.config.output.with_name("cache")
