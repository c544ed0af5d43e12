"""Rows of any source under our own column names: row, text, text_pair, label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from nlptl.data.columns import UNNAMED, Columns, Found, find_columns, text_values
from nlptl.data.label_reader import LabelReader
from nlptl.data.lines import LONGEST_TEXT
from nlptl.data.sources import Split, locate
from nlptl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Labels = Literal["required", "optional", "ignored"]
SHOWN_ROWS = 10


@dataclass(frozen=True)
class Source:
    """All splits of a source.

    Attributes:
        splits: keyed train, validation, test. Columns of each: `row` (int64, 0-based number of the data row
            in its file or split), `text` (string), `text_pair` (string, if there is one), `label` (string,
            or list of strings when multi-label; absent if there is none).
        notes: what was counted, guessed or left out, in plain sentences.
        multi_label: whether labels are lists.
        fingerprint: a hash of the content, the same for the same rows however they are stored.
        named_labels: the order of the classes, where the source has one.
    """

    splits: dict[str, Dataset]
    notes: list[str]
    multi_label: bool
    fingerprint: str
    named_labels: list[str] | None


@dataclass(frozen=True)
class ReadSplit:
    """One split in memory, with what was found out on the way (attributes as in Source)."""

    table: pa.Table
    notes: list[str]
    multi_label: bool
    named_labels: list[str] | None
    label_column: str | None


class LabelledRows:
    """Iterates over a split's rows as tables, in order and in constant memory.

    Args:
        if_present: columns are named for other data: a table without one is read as if it had not been named.

    Attributes (complete once it has been iterated over):
        notes, multi_label, named_labels: as in Source.
        found: the columns of the first table; None before.
    """

    def __init__(self, split: Split, columns: Columns, labels: Labels, if_present: bool = False) -> None:
        self.split, self.columns, self.labels, self.if_present = split, columns, labels, if_present
        self.notes = list(split.notes)
        self.multi_label: bool | None = None
        self.named_labels: list[str] | None = None
        self.found: Found | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        row = 0
        for table in self.split.tables():
            columns = self.columns.present_in(table.names) if self.if_present else self.columns
            if self.labels == "ignored" and columns.label not in table.names:
                columns = replace(columns, label=None)
            found = find_columns(table, columns, need_label=self.labels == "required")
            label_column = None if self.labels == "ignored" else found.label
            longest = None if self.labels == "ignored" else LONGEST_TEXT  # a language model reads on and on
            if self.found is None:
                self.found = found
                self.notes += found.notes
                self.named_labels = table.class_names.get(label_column or "")
            reader = LabelReader(label_column or "", table.place, table.class_names.get(label_column or ""))
            reader.multi_label = self.multi_label
            in_table = 0
            wanted = [name for name in found.names if name != found.label or label_column]
            for chunk in table.chunks(wanted):
                size = len(chunk[found.text])
                arrays = {"row": pa.array(range(row, row + size), pa.int64())}
                for column, name in (("text", found.text), ("text_pair", found.text_pair)):
                    if name is not None:
                        arrays[column] = text_values(chunk[name], name, table.place, in_table, longest)
                if label_column is not None:
                    arrays["label"] = reader.read(chunk[label_column], in_table)
                    self.multi_label = reader.multi_label
                    if self.labels == "required":
                        reader.check_classes()
                yield pa.table(arrays)
                row, in_table = row + size, in_table + size


def read_split(split: Split, columns: Columns, labels: Literal["required", "optional"]) -> ReadSplit:
    """Reads one split into memory and counts what is missing in it.

    With `labels="required"` rows without text or label are left out; with "optional" every row is kept, an
    empty text as the empty string.

    Raises:
        DataError: it cannot be read, its columns cannot be told, or no row is left.
    """
    rows = LabelledRows(split, columns, labels)
    tables = list(rows)
    if not any(table.num_rows for table in tables):
        raise DataError("there are no data rows", f"in {split.place}", "it needs at least one")
    table = pa.concat_tables(tables, promote_options="default")
    if "label" in table.column_names and pa.types.is_null(table["label"].type):
        place = table.column_names.index("label")
        table = table.set_column(place, "label", table["label"].cast(pa.string()))
    table, notes = _without_unusable(table, split.place, labels)
    if table.num_rows == 0:
        raise DataError("no row is left", f"in {split.place}", "; ".join(notes))
    label_column = rows.found.label if rows.found else None
    return ReadSplit(table, rows.notes + notes, bool(rows.multi_label), rows.named_labels, label_column)


def _without_unusable(table: pa.Table, place: str, labels: str) -> tuple[pa.Table, list[str]]:
    notes = []
    # Chunk by chunk, since trimming copies. A null has no length: it is made to count as empty.
    empty = pa.chunked_array(
        [
            pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(chunk)), 0), True)
            for chunk in table["text"].chunks
        ],
        pa.bool_(),
    )
    if labels == "optional":
        if _count(empty):
            notes.append(f"kept with an empty text: {_which(table, empty, place)}")
            blank = pc.if_else(empty, "", table["text"])
            table = table.set_column(table.column_names.index("text"), "text", blank)
    else:
        if _count(empty):
            notes.append(f"left out for an empty text: {_which(table, empty, place)}")
        missing = pc.and_(pc.is_null(table["label"]), pc.invert(empty))
        if _count(missing):
            notes.append(f"left out for a missing label: {_which(table, missing, place)}")
        if notes:
            table = table.filter(pc.invert(pc.or_(empty, missing)))
    if "text_pair" in table.column_names:
        pair = pc.fill_null(table["text_pair"], "")
        if _count(empty := pc.equal(pair, "")):
            notes.append(f"kept with an empty second text: {_which(table, empty, place)}")
        table = table.set_column(table.column_names.index("text_pair"), "text_pair", pair)
    return table, notes


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _which(table: pa.Table, mask: pa.ChunkedArray, place: str) -> str:
    count = _count(mask)
    numbers = ", ".join(map(str, table["row"].filter(mask).slice(0, SHOWN_ROWS).to_pylist()))
    if count == 1:
        return f"1 row of {place} (row {numbers})"
    return f"{count:,} rows of {place} (rows {numbers}{', ...' if count > SHOWN_ROWS else ''})"


def as_dataset(table: pa.Table) -> Dataset:
    """A table as a data set whose fingerprint is a hash of its content, however it is cut into chunks.

    Left to itself, `datasets` would pickle the whole table for its fingerprint, three times its memory.
    """
    from datasets import Dataset  # to read row by row there is no need of what takes so long to import

    digest = hashlib.sha256(json.dumps(table.column_names).encode())
    for start in range(0, table.num_rows, 1024):
        digest.update(json.dumps(table.slice(start, 1024).to_pydict()).encode())
    return Dataset(table, fingerprint=digest.hexdigest())


def read_splits(
    source: str,
    columns: Columns = UNNAMED,
    *,
    labels: Literal["required", "optional"] = "required",
    offline: bool = False,
) -> Source:
    """Reads every split of a labelled source.

    Args:
        source: a file, folder, `sample` or Hub data set.
        columns: the columns' names where they are not `text` and `label`.
        labels: "required" leaves out rows without label or text and counts them; "optional" keeps all rows.
        offline: never reach for the network.

    Raises:
        DataError: there is no such source, or it is unreadable, ambiguous or empty.
    """
    read = {key: read_split(split, columns, labels) for key, split in locate(source, offline).items()}
    parts = list(read.values())
    kinds = {part.multi_label for part in parts if "label" in part.table.column_names}
    if len(kinds) > 1:
        raise DataError(
            "labels are lists in one split and not in another", f"in {source}", "write all as lists"
        )
    splits = {key: as_dataset(part.table) for key, part in read.items()}
    contents = json.dumps([(key, dataset._fingerprint) for key, dataset in splits.items()])
    return Source(
        splits=splits,
        notes=[note for part in parts for note in part.notes],
        multi_label=any(kinds),
        fingerprint=hashlib.sha256(contents.encode()).hexdigest(),
        named_labels=next((part.named_labels for part in parts if part.named_labels), None),
    )


def iterate_texts(
    source: str, columns: Columns = UNNAMED, *, offline: bool = False, if_present: bool = False
) -> Iterator[str]:
    """The texts of every split but test, one after the other (a pair's second text after its first).

    Labels are not read and need not be there; empty texts are passed over. Constant memory. With `if_present`
    the named columns are those of other data, and need not be there either.

    Raises:
        DataError: as `read_splits`; if only test is there, too.
    """
    splits = locate(source, offline)
    splits.pop("test", None)
    if not splits:
        raise DataError("there is only a test split", f"in {source}", "name the file itself to train on it")
    for split in splits.values():
        for table in LabelledRows(split, columns, "ignored", if_present):
            for row in table.to_pylist():
                for text in (row["text"], row.get("text_pair")):
                    if text and not text.isspace():
                        yield text
