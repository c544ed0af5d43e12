"""Texts from standard input, one a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from nlptl.errors import DataError


def stdin_rows() -> Iterator[dict[str, Any]]:
    """Each line of standard input as a row; an empty line is an empty text.

    Raises:
        DataError: a line that is no UTF-8, named by its number.
    """
    for number, line in enumerate(sys.stdin.buffer):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"standard input, line {number + 1}, byte {error.start + 1}"
            raise DataError("not UTF-8 text", where, "convert it: iconv -t UTF-8") from None
        yield {"row": number, "text": text.rstrip("\r\n")}
