"""Lines of standard input: each as soon as it is there, and the same however they come."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from nlptl.data import lines
from nlptl.data.lines import stdin_rows, stdin_rows_as_they_come
from nlptl.errors import DataError

Serve = Callable[[BinaryIO], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    return lambda stream: monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        yield writing, stream


def test_a_pause_is_told_before_the_next_line_is_waited_for(serve: Serve, pipe: tuple[int, BinaryIO]) -> None:
    writing, stream = pipe
    serve(stream)
    rows = stdin_rows_as_they_come()
    os.write(writing, b"one\ntwo\nthr")
    assert [next(rows) for _ in range(3)] == [{"row": 0, "text": "one"}, {"row": 1, "text": "two"}, None]
    os.write(writing, b"ee\n")
    assert next(rows) == {"row": 2, "text": "three"}
    os.write(writing, b"the last, without an end")
    os.close(writing)
    assert list(rows) == [{"row": 3, "text": "the last, without an end"}]


@pytest.mark.parametrize("content", [b"", b"\n", b"a\r\n\nb", b"a\n\n", b"x" * 200_000 + b"\ny\n"])
def test_lines_are_those_of_a_file(serve: Serve, content: bytes) -> None:
    serve(io.BytesIO(content))
    expected = [line.decode().rstrip("\r\n") for line in io.BytesIO(content)]
    assert [row["text"] for row in stdin_rows()] == expected


class Endless(io.RawIOBase):
    """A line that never ends."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_a_line_without_end_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1_000_000)
    serve(io.BufferedReader(Endless()))
    with pytest.raises(DataError, match="more than 10,000,000 characters, standard input, line 1"):
        list(stdin_rows())
