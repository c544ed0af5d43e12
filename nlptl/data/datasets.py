"""Labelled text for a command: the public face of this room, and rows that are read, not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from nlptl.data.columns import UNNAMED, Columns
from nlptl.data.label_ids import encode_labels
from nlptl.data.labelled_text import LabelledRows, Source, as_dataset, iterate_texts, read_split, read_splits
from nlptl.data.names import TABULAR_SUFFIXES
from nlptl.data.sources import Split, choose_split, locate
from nlptl.data.task import Pool, Task, load_pool, load_task
from nlptl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "TABULAR_SUFFIXES",
    "Columns",
    "Pool",
    "Source",
    "Task",
    "encode_labels",
    "iterate_rows",
    "iterate_texts",
    "load_pool",
    "load_rows",
    "load_task",
    "read_splits",
]


def load_rows(
    data: str,
    *,
    columns: Columns = UNNAMED,
    labels: Literal["required", "optional"],
    split: str | None = None,
    offline: bool = False,
) -> tuple[Dataset, list[str]]:
    """The rows to evaluate, predict or extract features of, and notes.

    Of several splits it is the one asked for, else test, else validation; a note says which.

    Raises:
        DataError: as `read_splits`, or there is no such split.
    """
    chosen, notes = _one_split(data, split, offline)
    read = read_split(chosen, columns, labels)
    return as_dataset(read.table), notes + read.notes


def iterate_rows(
    data: str,
    *,
    columns: Columns = UNNAMED,
    split: str | None = None,
    offline: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> Iterator[dict[str, Any]]:
    """The rows of `load_rows(labels="optional")` one by one, in constant memory; a missing text is ''.

    `on_note` is told which of several splits is read.
    """
    chosen, notes = _one_split(data, split, offline)
    for note in notes:
        on_note(note)
    for table in LabelledRows(chosen, columns, "optional"):
        for row in table.to_pylist():
            for name in ("text", "text_pair"):
                if name in row:
                    row[name] = row[name] or ""
            yield row


def _one_split(data: str, split: str | None, offline: bool) -> tuple[Split, list[str]]:
    splits = locate(data, offline)
    if split is not None:
        if split not in splits:
            raise DataError(f"there is no {split} split", f"in {data}", f"it has {', '.join(splits)}")
        return splits[split], []
    chosen = choose_split(data, splits, ("test", "validation"))
    key = next(name for name, part in splits.items() if part is chosen)
    return chosen, [f"of {data} the {key} split is read"] if len(splits) > 1 else []
