"""`nlptl predict`: texts in, a label and its probability out, a line each, in order and in constant memory."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nlptl import processes
from nlptl.commands.invocation import Invocation
from nlptl.commands.output_lock import lock, locks_released
from nlptl.commands.prediction import Classifier, load_classifier
from nlptl.commands.run_folder import check_output_file
from nlptl.config import PredictConfig
from nlptl.data.columns import Columns
from nlptl.data.encoding import Truncation
from nlptl.data.lines import stdin_rows_as_they_come
from nlptl.errors import DataError, RunFailed, UsageError, legible

TakeRow = Callable[[dict[str, Any]], None]


@locks_released()
def predict(config: PredictConfig, invocation: Invocation, take: TakeRow | None = None) -> dict[str, Any]:
    """Write a prediction for every row and report how many.

    Args:
        take: is given each prediction where none is to be written.
    """
    if config.model is None:
        raise UsageError("--model is missing", "nlptl predict", "for example --model runs/first reviews.csv")
    if config.data is None:
        raise UsageError("nothing to predict", "nlptl predict", "name a data file, or - for standard input")
    if config.output is not None:
        check_output_file(config.output, config.data, force=invocation.force or invocation.dry_run)
    rows: Iterator[Mapping[str, Any] | None]
    if config.data == "-":
        rows = processes.read_by_leader(stdin_rows_as_they_come())
    else:
        from nlptl.data.datasets import (
            iterate_rows,  # a line from a pipe has no need of the library behind it
        )

        columns = Columns(config.text_column, config.text_pair_column, config.label_column)
        rows = iterate_rows(
            config.data, columns=columns, offline=config.offline, on_note=invocation.reporter.note
        )
        first = next(rows, None)  # a bad file is found before the model is loaded
        if first is None:
            raise DataError("there are no data rows", f"in {config.data}", "it needs at least one")
        rows = itertools.chain([first], rows)
    classifier = load_classifier(config.model, config)
    if invocation.dry_run:
        return {
            "command": "predict",
            "labels": classifier.label_names,
            "data": config.data,
            "format": config.format,
        }
    began, count, empty, abstained, truncation = time.monotonic(), 0, 0, 0, Truncation()
    with contextlib.nullcontext(take) if take is not None else _written(config, classifier) as write:
        for row, probabilities in classifier.stream(rows, truncation.add):
            values = _values(classifier, config, probabilities)
            write(values)
            count += 1
            empty += not row["text"].strip()
            abstained += values["label"] is None
    if empty:
        invocation.reporter.note(f"{empty:,} of {count:,} texts are empty; they were predicted all the same")
    if config.min_probability is not None:
        invocation.reporter.note(
            f"{abstained:,} of {count:,} texts were given no label, whose probability is below "
            f"{config.min_probability:g}"
        )
    if (cut := truncation.note("texts")) is not None:
        invocation.reporter.note(cut)
    seconds = time.monotonic() - began
    return {
        "output": None if config.output is None else str(config.output),
        "rows": count,
        **({} if config.min_probability is None else {"abstained": abstained}),
        "seconds": round(seconds, 2),
        "rows_per_second": round(count / max(seconds, 1e-9), 1),
    }


@contextlib.contextmanager
def _written(config: PredictConfig, classifier: Classifier) -> Iterator[TakeRow]:
    """Where predictions are written, each as it comes."""
    with _opened(config.output) as file:
        with _write_errors(config.output):
            write = _writer(file, classifier, config)

        def take(values: dict[str, Any]) -> None:
            with _write_errors(config.output):
                write(values)
                if config.data == "-":
                    file.flush()  # whoever writes the lines may be waiting for the answer

        yield take


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is whole; of several processes the leader's alone."""
    if not processes.is_leader():
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    with _write_errors(output):
        lock(output)  # and what another run has half written is not touched
    try:
        with _write_errors(output):
            file = open(partial, "w", encoding="utf-8", newline="")  # noqa: SIM115  # closed below, either way
        try:
            yield file
        except BaseException:
            with contextlib.suppress(OSError):  # what went wrong first is what counts
                file.close()
            raise
        with _write_errors(output):
            file.close()
            os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _write_errors(output: Path | None) -> Iterator[None]:
    """Names the file that cannot be written.

    Raises:
        RunFailed: the system refuses, for want of room or of permission.
    """
    try:
        yield
    except OSError as error:
        if output is None:
            raise  # a reader of standard output that has gone away is the command line's to judge
        raise RunFailed(
            f"cannot be written ({error.strerror})", str(output), "name another --output"
        ) from None


def _writer(file: TextIO, classifier: Classifier, config: PredictConfig) -> TakeRow:
    """How one row is written: JSON lines, or CSV with a header."""
    if config.format == "jsonl":
        return lambda values: print(legible(json.dumps(values, ensure_ascii=False)), file=file)
    names = classifier.label_names if config.probabilities else []
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["label", "probability", *names])

    def write(values: dict[str, Any]) -> None:
        label = values["label"]
        text = "|".join(label) if isinstance(label, list) else label
        writer.writerow([text, values["probability"], *(values["probabilities"][name] for name in names)])

    return write


def _values(classifier: Classifier, config: PredictConfig, p: NDArray[np.float32]) -> dict[str, Any]:
    """One prediction; its label is None where it is less probable than was asked for."""
    # Of several labels the probability is that of the whole set: the product over the classes in and out of it.
    sure = float(np.where(p >= 0.5, p, 1 - p).prod()) if classifier.multi_label else float(p.max())
    abstains = config.min_probability is not None and sure < config.min_probability
    values: dict[str, Any] = {"label": None if abstains else classifier.decide(p), "probability": sure}
    if config.probabilities:
        values["probabilities"] = dict(zip(classifier.label_names, map(float, p), strict=True))
    return values
