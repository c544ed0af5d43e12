"""The values of a label column as strings, or as lists of strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from nlptl.data.tables import Values
from nlptl.errors import DataError

MOST_CLASSES = 100_000  # beyond, the column is one of ids or of texts


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
        try:
            plain = values if isinstance(values, list) else values.to_pylist()
        except UnicodeDecodeError:  # Arrow does not check that strings are UTF-8 when it reads them
            where = f"in rows {first_row} to {first_row + len(values) - 1} of {self.place}"
            cause = f"column {self.column!r} holds labels that are not UTF-8"
            raise DataError(cause, where, "write it again") from None
        for index, value in enumerate(plain):
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

    def check_classes(self) -> None:
        """A classifier has a row of weights for each class.

        Raises:
            DataError: there are more than `MOST_CLASSES` so far.
        """
        if len(self._known) > MOST_CLASSES:
            cause = f"more than {MOST_CLASSES:,} different labels"
            remedy = "name the column of the classes with --label-column"
            raise DataError(cause, f"in column {self.column!r} of {self.place}", remedy)

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
