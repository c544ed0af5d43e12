"""Texts from standard input, one a line."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from nlptl.errors import DataError

BLOCK_BYTES = 64 * 1024


def stdin_rows() -> Iterator[dict[str, Any]]:
    """Each line of standard input as a row; an empty line is an empty text.

    Raises:
        DataError: a line that is no UTF-8, named by its number.
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
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"standard input, line {number + 1}, byte {error.start + 1}"
            raise DataError("not UTF-8 text", where, "convert it: iconv -t UTF-8") from None
        yield {"row": number, "text": text.rstrip("\r\n")}
        number += 1


def _lines_as_they_come(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines without their line feed; None before each time that reading on would wait."""
    parts: list[bytes] = []  # of a line whose end has not come yet
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
            parts = []
        parts.append(rest)
    if any(parts):
        yield b"".join(parts)


def _is_ready(stream: BinaryIO) -> bool:
    """Whether reading would not wait; also where that cannot be told (Windows asks it of sockets alone)."""
    try:
        return bool(select.select([stream.fileno()], [], [], 0)[0])
    except (OSError, ValueError, io.UnsupportedOperation):
        return True
