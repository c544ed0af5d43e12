"""Files of word vectors, as they are published -> blocks of rows, streamed.

- word2vec's text (a header of rows and width, then a word and its numbers a line), which fastText's `.vec` is too;
- GloVe's text, which is the same without a header;
- word2vec's binary (the same header, then each word, a space, and its numbers as little-endian float32).

Which of them a file is, and whether it is gzipped or zipped, is told from its content, not from its name.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from nlptl.errors import ModelError

NUMBERS_A_BLOCK = 250_000
HEAD_BYTES = 1 << 16
WIDEST = 1 << 14
LONGEST_WORD = 10_000  # bytes
LONGEST_NUMBER = 15  # digits
LONGEST_LINE = (
    1 << 20
)  # bytes; the widest vector has a third of it. A compressed file can hold a line without end.
REMEDY = "download the file again"
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GAP = re.compile(rb"[ \t]+")

Block = tuple[list[str], NDArray[np.float32]]


@dataclass
class VectorFile:
    """What the beginning of a file says of the rest.

    Attributes:
        format: "text" or "binary".
        width: of a vector.
        rows: as the header promises; None without a header.
        damaged_words: how many words, of those read so far, are not UTF-8.
    """

    path: Path
    format: Literal["text", "binary"]
    width: int
    rows: int | None
    damaged_words: int = field(default=0, init=False)

    @property
    def block_rows(self) -> int:
        """Rows that are held at a time."""
        return max(1, NUMBERS_A_BLOCK // self.width)

    def blocks(self, keep: Callable[[str], bool]) -> Iterator[Block]:
        """The rows whose word `keep` accepts, in order: words, and vectors (rows, width). It is asked once a row.

        Raises:
            ModelError: the file is damaged, with the line or row where it is.
        """
        with opened(self.path) as stream:
            if self.rows is not None:
                stream.readline()
            yield from self._text(stream, keep) if self.format == "text" else self._binary(stream, keep)

    def _text(self, stream: BinaryIO, keep: Callable[[str], bool]) -> Iterator[Block]:
        spaces, found = self.width - 1, 0
        words: list[str] = []
        numbers: list[bytes] = []
        lines: list[int] = []
        rows = iter(lambda: stream.readline(LONGEST_LINE), b"")
        for line, row in enumerate(rows, start=1 if self.rows is None else 2):
            if len(row) == LONGEST_LINE:
                cause = f"no end within {LONGEST_LINE:,} bytes"
                raise ModelError(cause, f"line {line:,} of {self.path}", REMEDY)
            row = row.rstrip(b" \r\n")
            if not row:
                continue
            found += 1
            word, _, values = row.partition(b" ")
            if values.count(b" ") != spaces or not word:
                word, values = self._parted(row, line)
            name = self._decoded(word)
            if not keep(name):
                continue
            words.append(name)
            numbers.append(values)
            lines.append(line)
            if len(words) == self.block_rows:
                yield words, self._parsed(numbers, lines)
                words, numbers, lines = [], [], []
        if self.rows is not None and found != self.rows:
            cause = f"its header promises {self.rows:,} rows, and it has {found:,}"
            raise ModelError(cause, f"in {self.path}", REMEDY)
        if words:
            yield words, self._parsed(numbers, lines)

    def _parted(self, row: bytes, line: int) -> tuple[bytes, bytes]:
        """A row whose word has spaces in it (some of GloVe's), or with other gaps between its numbers."""
        fields = _GAP.split(row.strip(b" \t"))
        found = len(fields) - 1
        if found > self.width and not _NUMBER.fullmatch(fields[-self.width - 1]):
            found = self.width
        if found != self.width:
            cause = f"{found} numbers where {self.width} are due"
            raise ModelError(cause, f"line {line:,} of {self.path}", REMEDY)
        return b" ".join(fields[: -self.width]), b" ".join(fields[-self.width :])

    def _parsed(self, numbers: list[bytes], lines: list[int]) -> NDArray[np.float32]:
        """Rows of numbers as text -> (rows, width)."""
        shape = (len(numbers), self.width)
        try:
            values = _parse_floats(b" ".join(numbers))
        except pa.ArrowInvalid:
            values = np.empty(0, dtype=np.float32)
        if values.size != shape[0] * shape[1]:  # rare spellings of numbers, or no numbers
            rows = [self._parse_slowly(row, line) for row, line in zip(numbers, lines, strict=True)]
            values = np.array(rows, dtype=np.float32)
        return self._finite(values.reshape(shape), [f"line {line:,}" for line in lines])

    def _parse_slowly(self, row: bytes, line: int) -> list[float]:
        for number in row.split(b" "):
            if not _NUMBER.fullmatch(number):
                cause = f"{number[:40].decode(errors='replace')!r} is no number"
                raise ModelError(cause, f"line {line:,} of {self.path}", REMEDY)
        return [float(number) for number in row.split(b" ")]

    def _binary(self, stream: BinaryIO, keep: Callable[[str], bool]) -> Iterator[Block]:
        assert self.rows is not None
        size, buffer, at = 4 * self.width, b"", 0
        words: list[str] = []
        vectors: list[bytes] = []
        places: list[str] = []
        for row in range(1, self.rows + 1):
            while (space := buffer.find(b" ", at, at + LONGEST_WORD)) < 0 or len(buffer) < space + 1 + size:
                if space < 0 and len(buffer) - at >= LONGEST_WORD:
                    cause = f"no word within {LONGEST_WORD:,} bytes"
                    raise ModelError(cause, f"row {row:,} of {self.path}", REMEDY)
                more = stream.read(max(1 << 20, size))
                if not more:
                    cause = f"it ends in row {row:,} of the {self.rows:,} that its header promises"
                    raise ModelError(cause, f"in {self.path}", REMEDY)
                buffer, at = buffer[at:] + more, 0
            name = self._decoded(buffer[at:space].lstrip(b"\n"))
            at = space + 1 + size
            if not keep(name):
                continue
            words.append(name)
            vectors.append(buffer[space + 1 : at])
            places.append(f"row {row:,}")
            if len(words) == self.block_rows:
                yield words, self._unpacked(vectors, places)
                words, vectors, places = [], [], []
        if (buffer[at:] + stream.read(16)).strip(b"\n"):
            cause = f"there is more in it than the {self.rows:,} rows that its header promises"
            raise ModelError(cause, f"in {self.path}", REMEDY)
        if words:
            yield words, self._unpacked(vectors, places)

    def _unpacked(self, vectors: list[bytes], places: list[str]) -> NDArray[np.float32]:
        values = np.frombuffer(b"".join(vectors), dtype="<f4").astype(np.float32, copy=False)
        return self._finite(values.reshape(len(vectors), self.width), places)

    def _finite(self, values: NDArray[np.float32], places: list[str]) -> NDArray[np.float32]:
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            place = places[int(np.argmin(finite))]
            raise ModelError("a number that is not finite", f"{place} of {self.path}", REMEDY)
        return values

    def _decoded(self, word: bytes) -> str:
        try:
            return word.decode()
        except UnicodeDecodeError:
            self.damaged_words += 1
            return word.decode(errors="replace")


def _parse_floats(text: bytes) -> NDArray[np.float32]:
    """Numbers with a space between any two, by the fastest parser at hand."""
    column = csv.read_csv(
        pa.py_buffer(text.replace(b" ", b"\n")),
        csv.ReadOptions(column_names=["number"], use_threads=False, block_size=len(text) + 1),
        csv.ParseOptions(quote_char=False),
        csv.ConvertOptions(column_types={"number": pa.float32()}, null_values=[]),
    ).column(0)
    values: NDArray[np.float32] = column.to_numpy()
    return values


def vector_file(path: Path) -> VectorFile:
    """Tell from its beginning what a file is.

    Raises:
        ModelError: it holds no word vectors.
    """
    with opened(path) as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip():
        raise ModelError("the file is empty", f"in {path}", REMEDY)
    first, _, rest = head.partition(b"\n")
    fields = first.split()
    if len(fields) == 2 and all(number.isdigit() for number in fields):
        if max(map(len, fields)) > LONGEST_NUMBER:
            raise ModelError("a header of a number without end", f"line 1 of {path}", REMEDY)
        rows, width = map(int, fields)
        if not rows or not 0 < width <= WIDEST:
            raise ModelError(f"a header of {rows} rows and {width} columns", f"line 1 of {path}", REMEDY)
        return VectorFile(path, "text" if _is_text(rest, width) else "binary", width, rows)
    lines = head.split(b"\n")[:100]
    if len(head) == HEAD_BYTES:
        lines.pop()  # cut within
    widths = Counter(len(_GAP.split(line.strip(b" \t\r"))) - 1 for line in lines if line)
    width = max(widths, key=lambda each: widths[each], default=0)
    if not 0 < width <= WIDEST or not any(_is_row(line, width) for line in lines[:3]):
        cause = "no file of word vectors: its first lines are no words with numbers"
        remedy = "give word2vec's text or binary, GloVe's text, or fastText's .vec"
        raise ModelError(cause, f"in {path}", remedy)
    return VectorFile(path, "text", width, None)


def _is_row(line: bytes, width: int) -> bool:
    """Whether a line ends in so many numbers."""
    numbers = line.split()[-width:]
    return len(numbers) == width and all(_NUMBER.fullmatch(number) for number in numbers)


def _is_text(rest: bytes, width: int) -> bool:
    """Whether what follows a header is text; if its first line is damaged, by its letters."""
    if _is_row(rest.partition(b"\n")[0], width):
        return True
    controls = any(byte < 32 and byte not in b"\t\r\n" for byte in rest)
    return bool(rest) and not controls and "\ufffd" not in rest[:-4].decode(errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, of a gzipped file, or of the one file in a zip archive.

    Raises:
        ModelError: it cannot be read, it is damaged, or the archive holds several files.
    """
    try:
        with open(path, "rb") as raw:
            magic = raw.read(4)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                yield io.BufferedReader(unpacked, 1 << 20)
        elif magic == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive, archive.open(_only_file(archive, path)) as member:
                yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]
        else:
            with open(path, "rb", buffering=1 << 20) as stream:
                yield stream
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"it cannot be read ({error})", f"in {path}", REMEDY) from error


def _only_file(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(files) != 1:
        names = ", ".join(entry.filename for entry in files[:6]) or "none"
        cause = f"an archive of {len(files)} files ({names})"
        raise ModelError(cause, f"in {path}", "unpack it, and give the one that is wanted")
    return files[0]
