"""Which column is the text and which the label, and the texts as strings."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from nlptl.data.lines import LONGEST_TEXT, too_long
from nlptl.data.tables import RawTable, Values
from nlptl.errors import DataError

TEXT_ALIASES = ("sentence", "review", "content", "question", "document")
LABEL_ALIASES = ("category", "class", "target", "labels")


@dataclass(frozen=True)
class Columns:
    """The names of the columns as the user gave them; None is to be found out."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None

    def present_in(self, names: Sequence[str]) -> Columns:
        """Those of the named columns that are among `names`; the others are to be found out."""
        text, text_pair, label = (
            name if name in names else None for name in (self.text, self.text_pair, self.label)
        )
        return Columns(text, text_pair, label)


UNNAMED = Columns()


@dataclass(frozen=True)
class Found:
    """The names of the columns as they are in one table, and notes on those that were guessed."""

    text: str
    text_pair: str | None
    label: str | None
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Each column once, for reading."""
        return list(
            dict.fromkeys(name for name in (self.text, self.text_pair, self.label) if name is not None)
        )


def find_columns(table: RawTable, columns: Columns, need_label: bool) -> Found:
    """The columns that were named, else those that cannot be anything else.

    The text is `text`, else the one alias (TEXT_ALIASES), else the one column of strings that is no label;
    the label is `label`, else the one alias (LABEL_ALIASES), else, where it is needed, the one column
    left. Case does not count in what is not named by the user.

    Raises:
        DataError: a named column is absent, or the choice is ambiguous; it lists the columns there are.
    """
    notes: list[str] = []
    for name in (columns.text, columns.text_pair, columns.label):
        if name is not None and name not in table.names:
            raise _absent(name, table)
    named = {columns.text, columns.text_pair, columns.label} - {None}
    free = [name for name in table.names if name and name not in named]

    label_like = _called(free, "label", LABEL_ALIASES)
    text = columns.text
    if text is None:
        text_like = _called(free, "text", TEXT_ALIASES) or [
            name for name in free if name in table.text_names and name not in label_like
        ]
        if len(text_like) != 1:
            raise _undecided("text", "--text-column", text_like, table)
        text = text_like[0]
        if text != "text":
            notes.append(f"column {text!r} of {table.place} is taken as the text")

    label = columns.label
    if label is None:
        # Only a task needs its label at any price: a row id must not become one of predict's.
        rest = [name for name in free if name != text]
        candidates = [name for name in label_like if name != text] or (rest if need_label else [])
        if len(candidates) == 1:
            label = candidates[0]
            if label != "label":
                notes.append(f"column {label!r} of {table.place} is taken as the label")
        elif need_label:
            raise _undecided("label", "--label-column", candidates, table)
        elif candidates:
            notes.append(f"no label is read from {table.place}: it could be {_listed(candidates)}")
    if len({text, columns.text_pair, label} - {None}) < sum(
        name is not None for name in (text, columns.text_pair, label)
    ):
        raise DataError("one column is named for two purposes", f"in {table.place}", "name different columns")
    return Found(text, columns.text_pair, label, notes)


def _called(names: Sequence[str], default: str, aliases: Sequence[str]) -> list[str]:
    if default in names:
        return [default]
    exact = [name for name in names if name.casefold() == default]
    return exact or [name for name in names if name.casefold() in aliases]


def _absent(name: str, table: RawTable) -> DataError:
    near = difflib.get_close_matches(name, table.names, n=1)
    return DataError(
        f"no column named {name!r}",
        f"in {table.place}",
        f"it has {_listed(table.names)}" + (f"; did you mean {near[0]!r}?" if near else ""),
    )


def _undecided(purpose: str, option: str, candidates: Sequence[str], table: RawTable) -> DataError:
    if candidates:
        cause = f"the {purpose} column could be {' or '.join(repr(name) for name in candidates[:5])}"
    else:
        cause = f"no column is plainly the {purpose}"
    remedy = f"it has {_listed(table.names)}: name one with {option}"
    if len(table.names) == 1 and (";" in table.names[0] or "\t" in table.names[0]):
        remedy = (
            f"its fields seem to be parted by another character than its suffix says: {_listed(table.names)}"
        )
    return DataError(cause, f"in {table.place}", remedy)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else name[:37] + "...") for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def text_values(
    values: Values, column: str, place: str, first_row: int, longest: int | None = LONGEST_TEXT
) -> pa.Array:
    """A column's values as strings, null where missing.

    Args:
        first_row: the row number of the first value.
        longest: characters that a text may have, or None.

    Raises:
        DataError: a value is no text, or is not UTF-8, or is too long.
    """
    texts = _strings(values, column, place, first_row)
    if longest is not None and len(texts):
        lengths = pc.utf8_length(texts)
        if (most := pc.max(lengths).as_py() or 0) > longest:
            row = first_row + pc.index(lengths, most).as_py()
            raise too_long(f"in column {column!r} of row {row} of {place}")
    return texts


def _strings(values: Values, column: str, place: str, first_row: int) -> pa.Array:
    if isinstance(values, list):
        for index, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                where = f"in column {column!r} of row {first_row + index} of {place}"
                kind = type(value).__name__
                raise DataError(f"the text is of type {kind}, not a string", where, "write it in quotes")
        return pa.array(values, pa.string())
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in kinds):
        raise DataError(
            f"column {column!r} holds {values.type}, not text", f"in {place}", "name another column"
        )
    try:
        values.validate(full=True)  # Arrow does not check that strings are UTF-8 when it reads them
    except pa.ArrowInvalid:
        where = f"in rows {first_row} to {first_row + len(values) - 1} of {place}"
        raise DataError(f"column {column!r} holds text that is not UTF-8", where, "write it again") from None
    return values.cast(pa.string())
