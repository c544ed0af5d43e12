"""Comma- and tab-separated files: every value stays the string that is written."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from nlptl.data.streams import open_text
from nlptl.errors import DataError

# A field may be a whole book, beyond csv's own limit of 128 KiB. This is the largest that all systems take.
FIELD_LIMIT = 2**31 - 1

Rows = Callable[[Sequence[str]], Iterator[list[Any]]]


def read_delimited(path: Path, delimiter: str) -> tuple[list[str], list[str], Rows]:
    """The columns of a CSV or TSV file, those of text (all), and a reader of the wanted ones.

    Fields are quoted as RFC 4180 says. A TSV file is read so only where its quotes are well-formed, else
    literally: many data sets (GLUE's) are tab-separated with bare quotation marks, and reading those as
    quoting would silently swallow rows. An empty field is a missing value (None).

    Raises:
        DataError: not UTF-8, no header, a row with more or fewer fields than the header, bad quoting.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," or _is_quoted(path) else csv.QUOTE_NONE

    def lines() -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(FIELD_LIMIT)
        with open_text(path, newline="") as text:
            reader = csv.reader(text, delimiter=delimiter, quoting=quoting, strict=True)
            start = 1
            try:
                for fields in reader:
                    if fields:  # not a blank line
                        yield start, fields
                    start = reader.line_num + 1
            except csv.Error as error:
                raise DataError(
                    f"line {start} cannot be read ({error})",
                    f"in {path}",
                    'write a quotation mark within a quoted field twice ("") and close every quote',
                ) from None

    header = next((fields for _, fields in lines()), None)
    if header is None:
        raise DataError("the file is empty", f"in {path}", "it needs a line of column names, then the rows")

    def rows(wanted: Sequence[str]) -> Iterator[list[Any]]:
        places = [header.index(name) for name in wanted]
        body = lines()
        next(body)
        for number, fields in body:
            if len(fields) != len(header):
                raise DataError(
                    f"line {number} has {len(fields)} fields where the header has {len(header)}",
                    f"in {path}",
                    "quote fields that hold the separator or a line end",
                )
            yield [fields[place] or None for place in places]

    return header, list(header), rows


def _is_quoted(path: Path) -> bool:
    """Whether the quotation marks that open a TSV file's fields are quoting rather than text."""
    width = None
    with open_text(path, newline="") as text:
        for line in text:
            fields = line.rstrip("\r\n").split("\t")
            width = width or len(fields)
            if line.strip() and len(fields) != width:
                return True  # a quoted field holds a tab or a line end; if not, the strict reader says so
            for field in fields:
                if field.startswith('"'):
                    inner = field[1:-1]
                    if len(field) < 2 or field[-1] != '"' or '"' in inner.replace('""', ""):
                        return False
    return True
