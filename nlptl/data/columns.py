"""Which column is the text and which the label, and their values as strings."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

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


def text_values(values: Values, column: str, place: str, first_row: int) -> pa.Array:
    """A column's values as strings, null where missing.

    Raises:
        DataError: a value is no text, or is not UTF-8; `first_row` is the row number of the first value.
    """
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


class LabelReader:
    """Turns the values of one label column into strings, or into lists of strings.

    Args:
        column: its name, for errors.
        place: the file or split, for errors.
        class_names: what the class numbers stand for, where the column is of these; a negative one is
            a missing label (the GLUE test sets).

    Attributes:
        multi_label: whether the labels are lists; None before a label was seen.
    """

    def __init__(self, column: str, place: str, class_names: Sequence[str] | None = None) -> None:
        self.column, self.place, self.class_names = column, place, class_names
        self.multi_label: bool | None = None
        self._known: dict[tuple[type, Any], str | None] = {}

    def read(self, values: Values, first_row: int) -> pa.Array:
        """Strings or lists of strings, null where missing (type null while no label was seen).

        Raises:
            DataError: a label is no string, whole number or list of these; or lists are mixed with others.
        """
        read: list[str | list[str] | None] = []
        for index, value in enumerate(values if isinstance(values, list) else values.to_pylist()):
            row = first_row + index
            label = self._list(value, row) if isinstance(value, list) else self._name(value, row)
            if label is not None:
                if self.multi_label is None:
                    self.multi_label = isinstance(label, list)
                if self.multi_label != isinstance(label, list):
                    raise self._error("some labels are lists and others are not", row, "write all as lists")
            read.append(label)
        kinds = {None: pa.null(), False: pa.string(), True: pa.list_(pa.string())}
        return pa.array(read, kinds[self.multi_label])

    def _list(self, values: list[Any], row: int) -> list[str]:
        labels = [self._name(value, row) for value in values]
        names = [label for label in labels if label is not None]
        if len(names) < len(labels):
            raise self._error("a list of labels holds a missing one", row, "leave it out of the list")
        if len(set(names)) < len(names):
            remedy = "list the names that apply, each once, instead of a zero or one for each name"
            raise self._error("a list of labels names one twice", row, remedy)
        return names

    def _name(self, value: Any, row: int) -> str | None:
        if value is None or value != value:  # NaN is how pandas writes a missing value
            return None
        key = (type(value), value)  # with the type, because 1, 1.0 and True are one key of a dict
        try:
            return self._known[key]
        except KeyError:
            return self._known.setdefault(key, self._new_name(value, row))
        except TypeError:  # unhashable
            raise self._error(
                f"a label is a {type(value).__name__}", row, "use strings or whole numbers"
            ) from None

    def _new_name(self, value: Any, row: int) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            if not value.is_integer():
                raise self._error(
                    f"label {value} is no whole number", row, "classes are strings or whole numbers"
                )
            value = int(value)
        if isinstance(value, int):
            if self.class_names is None:
                return str(value)
            if value < 0:
                return None
            if value >= len(self.class_names):
                raise self._error(
                    f"class {value} is beyond the {len(self.class_names)} that are named", row, None
                )
            return self.class_names[value]
        if isinstance(value, str):
            return value if value.strip() else None
        raise self._error(f"a label is a {type(value).__name__}", row, "use strings or whole numbers")

    def _error(self, cause: str, row: int, remedy: str | None) -> DataError:
        return DataError(cause, f"in column {self.column!r} of row {row} of {self.place}", remedy)
