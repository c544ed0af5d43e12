"""Files opened as bytes or UTF-8 text, compressed or not, with what is wrong with them said plainly."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa

from nlptl.data.names import format_and_codec
from nlptl.errors import DataError

# A file that unpacks to more than both is a bomb: text seldom shrinks to a tenth.
LARGEST_EXPANSION = 200
UNPACKED_BYTES = 64 * 2**20
BLOCK_BYTES = 64 * 1024


def open_bytes(path: Path) -> BinaryIO:
    """The decompressed bytes of a file, in order, without holding them all.

    Raises:
        OSError: the file cannot be opened; reading on may raise it too, where compressed data is damaged.
    """
    codec = format_and_codec(path)[1]
    if codec is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path, codec), BLOCK_BYTES)


class _Unpacked(io.RawIOBase):
    """The bytes that a compressed file unpacks to, up to the bounds.

    Raises:
        DataError: it unpacks to more.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self.path, self.stream = path, pa.input_stream(str(path), compression=codec)
        self.left = max(UNPACKED_BYTES, LARGEST_EXPANSION * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self.stream.readinto(buffer))
        self.left -= count
        if self.left < 0:
            raise DataError(
                f"it unpacks to more than {LARGEST_EXPANSION} times its size, as no text does",
                f"in {self.path}",
                "unpack it if it is meant",
            )
        return count

    def close(self) -> None:
        self.stream.close()
        super().close()


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file as UTF-8 text, with or without a byte order mark; `newline` as in `open`.

    Raises:
        DataError: the file is not UTF-8 (its line, byte and likely encoding are named), is damaged, or
            may not be read.
    """
    with (
        damage_named(path),
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline=newline) as text,
    ):
        try:
            yield text
        except UnicodeDecodeError:
            # The decoder counts from the start of its buffer, so the place is looked for again by line.
            raise _wrong_encoding(path) from None


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns what the system or Arrow says of an unreadable file into a DataError.

    Raises:
        DataError: the file is absent, forbidden, a folder, empty of bytes, truncated or not of its format.
    """
    if "\0" in str(path):
        raise DataError("no file's name holds a NUL", str(path), "check the path")
    try:
        if path.is_dir():
            raise DataError("a folder stands where a file is due", f"at {path}", "name a file")
        if path.exists() and not path.is_file():  # to open a pipe may wait for ever, and it is read only once
            raise DataError(
                "a pipe or a device stands where a file is due", f"at {path}", "save it as a file"
            )
        if path.is_file() and path.stat().st_size == 0:
            raise DataError("the file is empty", f"in {path}", "it needs at least one row")
        yield
    except FileNotFoundError:
        if path.is_symlink():
            raise _dead_link(path) from None
        raise DataError("no such file or folder", str(path)) from None
    except PermissionError:
        raise DataError("the file may not be read", f"in {path}", "mend its permissions") from None
    except UnicodeDecodeError:  # of Arrow's names of columns; that of a text is explained where it is opened
        raise DataError("it holds names that are not UTF-8", f"in {path}", "write or copy it again") from None
    except (OSError, EOFError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise _dead_link(path) from None
        said = str(error).strip().splitlines() or [type(error).__name__]
        cause = f"the file is truncated, damaged or not what its suffix says ({said[0].rstrip('.')[:200]})"
        raise DataError(cause, f"in {path}", "write or copy it again") from error


def _dead_link(path: Path) -> DataError:
    return DataError("a link that leads nowhere", f"at {path}", "mend the link")


def _wrong_encoding(path: Path) -> DataError:
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                name = "UTF-32" if line.startswith(b"\xff\xfe\0\0") else "UTF-16"
                return _encoding_error(path, 1, 1, f", it looks like {name}", name)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                if _is_surrogate(line[error.start : error.start + 3]):
                    return DataError(
                        f"half a character (a lone surrogate) at line {number}, byte {error.start + 1} of the line",
                        f"in {path}",
                        "write the text again from where it came, or leave that character out",
                    )
                try:
                    line.decode("cp1252")
                    looks, name = ", it looks like Windows-1252", "CP1252"
                except UnicodeDecodeError:
                    looks, name = "", "ENCODING"
                return _encoding_error(path, number, error.start + 1, looks, name)
    return _encoding_error(path, 1, 1, "", "ENCODING")


def _is_surrogate(three: bytes) -> bool:
    return len(three) == 3 and three[0] == 0xED and 0xA0 <= three[1] <= 0xBF and 0x80 <= three[2] <= 0xBF


def _encoding_error(path: Path, line: int, byte: int, looks: str, name: str) -> DataError:
    return DataError(
        f"the file is not UTF-8 at line {line}, byte {byte} of the line{looks}",
        f"in {path}",
        f"re-encode it: iconv -f {name} -t UTF-8",
    )
