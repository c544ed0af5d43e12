"""The rows that features are extracted of: looked over once to know how many there are, then streamed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nlptl import processes
from nlptl.config import ExtractConfig
from nlptl.data.columns import Columns
from nlptl.data.labelled_text import LabelledRows
from nlptl.data.lines import stdin_rows
from nlptl.data.sources import choose_split, locate
from nlptl.errors import DataError

SAMPLE_ROWS = 1000

Row = Mapping[str, Any]


@dataclass
class Census:
    """What a pass over the rows found.

    Attributes:
        rows, characters: how many there are in all.
        sample: so many rows at random, or all where they are few.
        labels: the type of the labels; None where there is no such column.
    """

    rows: int = 0
    characters: int = 0
    sample: list[Row] = field(default_factory=list)
    labels: pa.DataType | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is not all there is."""
        return len(self.sample) < self.rows

    def scaled(self, tokens: int) -> int:
        """Tokens of all rows, given those of the sample: both have as many a character."""
        sampled = sum(map(characters, self.sample))
        return round(tokens * self.characters / sampled) if sampled and self.is_sampled else tokens


class FeatureRows:
    """Rows `row`, `text`, and `text_pair` and `label` where there are such, in order and in constant memory.

    A data source is read anew each time; standard input comes once.

    Raises (also when iterated over):
        DataError: the source is absent, unreadable or ambiguous.
    """

    def __init__(self, config: ExtractConfig) -> None:
        assert config.data is not None
        self.is_stdin = config.data == "-"
        self.notes: list[str] = []
        self.place = "standard input"
        if not self.is_stdin:
            splits = locate(config.data, config.offline)
            self._split = choose_split(config.data, splits, ("test", "validation"))
            self._columns = Columns(config.text_column, config.text_pair_column, config.label_column)
            self.place = self._split.place
            if len(splits) > 1:
                read = next(key for key, split in splits.items() if split is self._split)
                self.notes.append(f"of {config.data} the {read} split is read")

    def __iter__(self) -> Iterator[Row]:
        return (
            _from_stdin()
            if self.is_stdin
            else self._labelled(LabelledRows(self._split, self._columns, "optional"))
        )

    @staticmethod
    def _labelled(rows: LabelledRows) -> Iterator[Row]:
        for table in rows:
            for row in table.to_pylist():
                for name in ("text", "text_pair"):
                    if name in row and (row[name] is None or row[name].isspace()):
                        row[name] = ""
                yield row

    def check(self) -> None:
        """Read the first row, so that most of what can be wrong is found at once.

        Raises:
            DataError: as for the class; or there is no row.
        """
        if not self.is_stdin and next(iter(self), None) is None:
            raise self.absent()

    def census(self, on_rows: Callable[[int], None] = lambda rows: None) -> Census:
        """Look over all rows, and gather the notes on them.

        Args:
            on_rows: told now and then how many were seen.

        Raises:
            DataError: as for the class.
        """
        found, has_labels, several = Census(), False, False
        draw = random.Random(0)
        source = None if self.is_stdin else LabelledRows(self._split, self._columns, "optional")
        for row in _from_stdin() if source is None else self._labelled(source):
            # A uniform sample of rows whose number is not known before (reservoir sampling).
            place = found.rows if found.rows < SAMPLE_ROWS else draw.randrange(found.rows + 1)
            if place < SAMPLE_ROWS:
                found.sample[place : place + 1] = [row]
            found.rows += 1
            found.characters += characters(row)
            has_labels = has_labels or "label" in row
            several = several or isinstance(row.get("label"), list)
            if found.rows % 10_000 == 0:
                on_rows(found.rows)
        if has_labels:
            found.labels = pa.list_(pa.string()) if several else pa.string()
        if source is not None:
            self.notes += source.notes
        return found

    def absent(self) -> DataError:
        """That there is no row."""
        return DataError("there are no data rows", f"in {self.place}", "it needs at least one")


def _from_stdin() -> Iterator[Row]:
    """The rows of standard input, which only the leader can read."""
    return (row for row in processes.read_by_leader(stdin_rows()) if row is not None)


def characters(row: Row) -> int:
    """Of a row's text, and of its second text."""
    return len(row["text"]) + len(row.get("text_pair") or "")
