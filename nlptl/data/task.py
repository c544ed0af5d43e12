"""What a classifier is trained and measured on: rows that fit each other, and the names of their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nlptl.data.columns import UNNAMED, Columns
from nlptl.data.label_ids import counted, label_names_of, quoted, unknown_labels
from nlptl.data.labelled_text import ReadSplit, as_dataset, read_split
from nlptl.data.overlap import leakage, repeats
from nlptl.data.sources import Split, choose_split, locate
from nlptl.data.splits import balanced_sample, random_sample, stratified_validation
from nlptl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Task:
    """What a classifier is trained and measured on; columns of the data sets as in `Source`.

    Attributes:
        train, validation, test: rows in the order of their source; test is None where there is none.
        label_names: the classes of the training rows, in the order of the class ids.
        multi_label: whether a row may have several.
        has_pairs: whether rows have a `text_pair`.
        notes: what was counted, guessed or left out, in plain sentences.
    """

    train: Dataset
    validation: Dataset
    test: Dataset | None
    label_names: list[str]
    multi_label: bool
    has_pairs: bool
    notes: list[str]


def load_task(
    data: str,
    *,
    validation: str | None = None,
    test: str | None = None,
    columns: Columns = UNNAMED,
    limit: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    offline: bool = False,
) -> Task:
    """Reads training, validation and test data and makes sure that they fit each other.

    Without validation data a stratified part of the training rows becomes it (a random part if
    multi-label). `limit` counts all labelled rows the user has: it is drawn from train first, class by
    class, and the validation part is cut out of it.

    Args:
        data: the training data; its own validation and test splits are used unless others are named.
        validation, test: further sources.
        columns: names of the columns, in all sources.
        limit: how many training rows to use; None for all.
        validation_fraction: the part that becomes validation, above 0 and below 1.
        seed: draws the sample and the validation part.
        offline: never reach for the network.

    Raises:
        DataError: a source cannot be read; there is one class only, or too few rows; validation or test
            have labels that train has not; labels are lists in one and not in another.
    """
    splits = locate(data, offline)
    if "train" not in splits:
        raise DataError("there is no train split", f"in {data}", "name the file itself to train on it")
    read = read_split(splits["train"], columns, "required")
    notes = read.notes
    train, label_names = _training_rows(read, splits["train"].place, limit, seed, notes)

    held: dict[str, ReadSplit | None] = {
        "validation": _held_out("validation", validation, splits, read, columns, offline, notes),
        "test": _held_out("test", test, splits, read, columns, offline, notes),
    }
    for name, part in held.items():
        if part is not None:
            notes += part.notes
            _check_fit(part, read, label_names, name)
    if held["validation"] is not None:
        validation_rows = held["validation"].table
    else:
        train, validation_rows = _cut_validation(train, read, validation_fraction, seed, notes)
    test_rows = held["test"].table if held["test"] is not None else None
    notes += leakage(train, validation_rows, "validation")
    if test_rows is not None:
        notes += leakage(train, test_rows, "test")
    return Task(
        train=as_dataset(train),
        validation=as_dataset(validation_rows),
        test=None if test_rows is None else as_dataset(test_rows),
        label_names=label_names,
        multi_label=read.multi_label,
        has_pairs="text_pair" in train.column_names,
        notes=notes,
    )


@dataclass(frozen=True)
class Pool:
    """All labelled rows that samples are drawn from, and the rows that all of them are tested on.

    Attributes:
        rows, test: columns as in `Source`; the pool in the order of its source.
        test_source: where the test rows come from, for people.
        label_names, multi_label, has_pairs, notes: as in `Task`.
    """

    rows: Dataset
    test: Dataset
    test_source: str
    label_names: list[str]
    multi_label: bool
    has_pairs: bool
    notes: list[str]


def load_pool(
    data: str, *, test: str | None = None, columns: Columns = UNNAMED, offline: bool = False
) -> Pool:
    """Reads all labelled rows of a source, those of its validation part among them, and the test rows beside them.

    Without test data, named or in the source, a stratified fifth of the rows becomes it (a random fifth if
    multi-label), drawn by the seed 0.

    Raises:
        DataError: as `load_task`.
    """
    splits = locate(data, offline)
    if "train" not in splits:
        raise DataError("there is no train split", f"in {data}", "name the file itself to train on it")
    read = read_split(splits["train"], columns, "required")
    notes = read.notes
    pool, label_names = _training_rows(read, splits["train"].place, None, 0, notes)
    validation = _held_out("validation", None, splits, read, columns, offline, notes)
    tested = _held_out("test", test, splits, read, columns, offline, notes)
    for name, part in (("validation", validation), ("test", tested)):
        if part is not None:
            notes += part.notes
            _check_fit(part, read, label_names, name)
    if validation is not None:
        size = validation.table.num_rows
        notes.append(
            f"the {size:,} rows of {splits['validation'].place} are labelled rows like those of train"
        )
        pool = pa.concat_tables([pool, validation.table.select(pool.column_names)])
    if tested is not None:
        test_rows, test_source = tested.table, test or splits["test"].place
    else:
        labels = pool["label"].to_pylist()
        if read.multi_label:
            chosen = random_sample(labels, max(1, len(labels) // 5), 0)
        else:
            chosen = stratified_validation(labels, 0.2, 0)
        if not chosen:
            raise DataError("no class has a second row to test on", f"in {data}", "add rows or name --test")
        test_rows, test_source = (
            _rows_at(pool, chosen),
            f"a fifth of {data}, held out class by class (seed 0)",
        )
        pool = _rows_at(pool, sorted(set(range(len(labels))) - set(chosen)))
    return Pool(
        rows=as_dataset(pool),
        test=as_dataset(test_rows),
        test_source=test_source,
        label_names=label_names,
        multi_label=read.multi_label,
        has_pairs="text_pair" in pool.column_names,
        notes=notes + leakage(pool, test_rows, "test"),
    )


def _training_rows(
    read: ReadSplit, place: str, limit: int | None, seed: int, notes: list[str]
) -> tuple[pa.Table, list[str]]:
    """The rows within the limit, and the names of all classes of the source's training rows."""
    train = read.table
    size = train.num_rows
    labels = train["label"].to_pylist()
    label_names = label_names_of(labels, read.named_labels)
    if len(label_names) < 2:
        cause = f"a classifier needs two classes and there is {quoted(label_names) or 'none'}"
        raise DataError(cause, f"in {place}", "add rows of another class")
    if min(size, size if limit is None else limit) < 2:
        raise DataError("one row cannot be trained on and validated", f"in {place}", "use two rows or more")
    if limit is not None and limit < size:
        chosen = random_sample if read.multi_label else balanced_sample
        train = _rows_at(train, chosen(labels, limit, seed))
        notes.append(f"{limit:,} of the {size:,} rows of {place} are used (the limit)")
    elif limit is not None and limit > size:
        notes.append(f"all {size:,} rows of {place} are used, fewer than the limit of {limit:,}")
    if unused := [name for name in read.named_labels or () if name not in label_names]:
        notes.append(f"no training row has {quoted(unused)}, which {place} names as a class")
    notes += repeats(train, place)
    return train, label_names


def _rows_at(table: pa.Table, ascending: Sequence[int]) -> pa.Table:
    # By a mask and not `take`, which overflows where a string column holds more than 2 GiB.
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[list(ascending)] = True
    return table.filter(pa.array(mask))


def _held_out(
    name: str,
    source: str | None,
    splits: dict[str, Split],
    train: ReadSplit,
    columns: Columns,
    offline: bool,
    notes: list[str],
) -> ReadSplit | None:
    """Reads the validation or test data: what the user named, else what lies beside train."""
    if source is not None:
        if name in splits:
            notes.append(f"{splits[name].place} is not used: {source} is the {name} data")
        return read_split(choose_split(source, locate(source, offline), (name,)), columns, "required")
    if name not in splits:
        return None
    if name == "test":
        # Competitions publish test sets without labels: they measure nothing here, but do not stop training.
        table = next(splits[name].tables())
        if train.label_column not in table.names:
            column = repr(train.label_column)
            notes.append(f"{splits[name].place} has no column {column} and is not used as test data")
            return None
        columns = replace(columns, label=train.label_column)
        part = read_split(splits[name], columns, "optional")
        if part.table["label"].null_count == part.table.num_rows:
            notes.append(f"{splits[name].place} has no labels and is not used as test data")
            return None
    return read_split(splits[name], columns, "required")


def _check_fit(part: ReadSplit, train: ReadSplit, label_names: Sequence[str], name: str) -> None:
    where = f"in the {name} data"
    if part.multi_label != train.multi_label:
        raise DataError(f"labels are lists in train or {name}, but not in both", where, "write all as lists")
    if ("text_pair" in part.table.column_names) != ("text_pair" in train.table.column_names):
        raise DataError(
            f"only one of train and {name} has a second text", where, "give both the same columns"
        )
    if unknown := unknown_labels(part.table["label"].to_pylist(), label_names):
        remedy = f"train has {quoted(label_names)}: mend the labels or leave these rows out"
        raise DataError(f"labels that no training row has: {counted(unknown)}", where, remedy)


def _cut_validation(
    train: pa.Table, read: ReadSplit, fraction: float, seed: int, notes: list[str]
) -> tuple[pa.Table, pa.Table]:
    size = train.num_rows
    labels = train["label"].to_pylist()
    if read.multi_label:
        chosen = random_sample(labels, min(max(1, round(size * fraction)), size - 1), seed)
    else:
        chosen = stratified_validation(labels, fraction, seed)
        if alone := sorted(name for name, count in Counter(labels).items() if count == 1):
            notes.append(f"classes with one row, which stays in train ({len(alone)}): {quoted(alone)}")
    if not chosen:
        remedy = "add rows or name validation data"
        raise DataError("no class has a second row to validate on", "in the training data", remedy)
    notes.append(f"{len(chosen):,} of the {size:,} training rows are kept aside for validation")
    return _rows_at(train, sorted(set(range(size)) - set(chosen))), _rows_at(train, chosen)
