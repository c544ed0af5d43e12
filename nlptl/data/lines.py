"""Texts from standard input, one a line."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from nlptl.errors import DataError

BLOCK_BYTES = 64 * 1024
LONGEST_TEXT = (
    10_000_000  # characters, three times "War and Peace"; a classifier would be busy with it for hours
)
LONGEST_LINE = 4 * LONGEST_TEXT  # bytes; UTF-8 needs no more


def too_long(where: str) -> DataError:
    """A text of more than `LONGEST_TEXT` characters."""
    cause = f"the text has more than {LONGEST_TEXT:,} characters"
    return DataError(cause, where, "cut it into several texts")


def stdin_rows() -> Iterator[dict[str, Any]]:
    """Each line of standard input as a row; an empty line is an empty text.

    Raises:
        DataError: a line that is no UTF-8 or too long, named by its number.
    """
    return (row for row in stdin_rows_as_they_come() if row is not None)


def stdin_rows_as_they_come() -> Iterator[dict[str, Any] | None]:
    """The rows of `stdin_rows`, and None wherever the next line is still being waited for.

    Raises:
        DataError: as `stdin_rows`.
    """
    number = 0
    for line in _lines_as_they_come(sys.stdin.buffer):
        if line is None:
            yield None
            continue
        if len(line) > LONGEST_LINE:
            raise too_long(f"standard input, line {number + 1}")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"standard input, line {number + 1}, byte {error.start + 1}"
            raise DataError("not UTF-8 text", where, "convert it: iconv -t UTF-8") from None
        if len(text) > LONGEST_TEXT:
            raise too_long(f"standard input, line {number + 1}")
        yield {"row": number, "text": text.rstrip("\r\n")}
        number += 1


def _lines_as_they_come(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines without their line feed; None before each time that reading on would wait.

    A line beyond `LONGEST_LINE` comes as soon as it is, since it may have no end.
    """
    parts: list[bytes] = []  # of a line whose end has not come yet
    length = 0
    while True:
        if not _is_ready(stream):
            yield None
        # `read1` asks the system at most once and leaves nothing in the stream's own buffer.
        block = stream.read1(BLOCK_BYTES)  # type: ignore[attr-defined]
        if not block:
            break
        *lines, rest = block.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line])
            parts, length = [], 0
        parts.append(rest)
        length += len(rest)
        if length > LONGEST_LINE:
            yield b"".join(parts)
            parts, length = [], 0
    if any(parts):
        yield b"".join(parts)


def _is_ready(stream: BinaryIO) -> bool:
    """Whether reading would not wait; also where that cannot be told (Windows asks it of sockets alone)."""
    try:
        return bool(select.select([stream.fileno()], [], [], 0)[0])
    except (OSError, ValueError, io.UnsupportedOperation):
        return True
