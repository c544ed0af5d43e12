"""The text of a language model, wherever it comes from: files of lines, data sets with a text column, or at hand."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nlptl.data.columns import UNNAMED, Columns
from nlptl.data.datasets import TABULAR_SUFFIXES, iterate_texts
from nlptl.data.memory import held_splits
from nlptl.data.names import SAMPLE, format_and_codec, is_address
from nlptl.data.remote import fetched
from nlptl.data.sources import samples_folder
from nlptl.data.streams import open_text
from nlptl.data.unchanged import Mark, file_mark, unchanged
from nlptl.errors import DataError

FINGERPRINT_BLOCK = 64 * 1024
LONGEST_TEXT = (
    1_000_000  # characters; tokenizers need hundreds of bytes for each of those that they read at once
)
LARGEST_SHARE = 100  # of a sample a text that is read whole makes up at most one part in so many


@dataclass(frozen=True)
class LmText:
    """Texts to read as often as need be, in a fixed order; their files have to stay as they are at first sight.

    One of more than `LONGEST_TEXT` characters, such as a corpus on one line, comes as several, cut at white space.

    Attributes:
        sources: paths of `.txt` files (a line is a text) and of data sets.
        columns: where a data set keeps its texts.
        columns_if_present: the columns are those of the task's data; a source that has none of that name is read as
            if none were named.
        at_hand: further texts, such as the training texts of the task.
        offline: never look for a data set on the Hub.
        marks: of the files, when they were first read.
    """

    sources: tuple[str, ...]
    columns: Columns = UNNAMED
    at_hand: Sequence[str] = ()
    offline: bool = False
    columns_if_present: bool = False
    marks: dict[str, Mark | None] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[str]:
        for source in self.sources:
            path = Path(source)
            with unchanged(path, self._first_mark(path)):
                if format_and_codec(path)[0] == ".txt":
                    texts = _lines(path)
                else:
                    texts = iterate_texts(
                        source, self.columns, offline=self.offline, if_present=self.columns_if_present
                    )
                yield from itertools.chain.from_iterable(map(_pieces, texts))
        yield from itertools.chain.from_iterable(map(_pieces, self.at_hand))

    def _first_mark(self, file: Path) -> Mark | None:
        return self.marks.setdefault(str(file), file_mark(file))

    def check(self) -> None:
        """Open every source for its first text, so that a bad one is found before any work is done.

        Raises:
            DataError: one cannot be read, or there is no text in any of them.
        """
        first = [next(iter(replace(self, sources=(source,), at_hand=())), None) for source in self.sources]
        if self.sources and not any(first):
            raise DataError("no text in it", f"in {', '.join(self.sources[:3])}", "give files that hold text")

    def sample(self, characters: int) -> Iterator[str]:
        """Evenly spread texts that hold about so many characters; all texts where there are fewer.

        Short texts are taken whole, one out of so many; of each that would fill a large part of the sample by itself,
        the beginning is taken, as long as its share.
        """
        total = sum(map(len, self))
        if total <= characters:
            yield from self
            return
        share, longest = characters / total, max(1, characters // LARGEST_SHARE)
        short, due = 0, 0.0
        for text in self:
            if len(text) <= longest:
                short += 1
                if int(short * share) > int((short - 1) * share):
                    yield text
            else:
                due += len(text) * share
                if beginning := text[: int(due)]:
                    yield beginning
                due -= len(beginning)

    def fingerprint(self) -> str:
        """Changes with the name, size, beginning, middle or end of a file, and with a text at hand.

        A large file is not read whole; when it was written and where it lies do not count.

        Raises:
            DataError: a file has changed or vanished.
        """
        digest = hashlib.sha256()
        for source in self.sources:
            path = samples_folder() if source == SAMPLE else Path(source)
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            digest.update(source.encode("utf-8", "surrogateescape") if not path.exists() else b"")
            for file in inside:
                if file.is_file():
                    name = file.relative_to(path.parent).as_posix()
                    try:
                        with unchanged(file, self._first_mark(file)):
                            mark = _content_mark(file)
                    except FileNotFoundError:
                        cause = "the file has vanished while it was read"
                        raise DataError(cause, str(file), "put it back, and run again") from None
                    digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + mark)
        in_memory = (source for source in self.sources if held_splits(source) is not None)
        texts = (text for source in in_memory for text in replace(self, sources=(source,), at_hand=()))
        for text in itertools.chain(texts, self.at_hand):
            digest.update(text.encode("utf-8", errors="surrogatepass") + b"\0")
        digest.update(repr((self.columns, self.columns_if_present)).encode())
        return digest.hexdigest()[:24]


def find_lm_text(
    patterns: Sequence[str],
    columns: Columns = UNNAMED,
    at_hand: Sequence[str] = (),
    offline: bool = False,
    columns_if_present: bool = False,
) -> LmText:
    """Paths, folders (all their text files), globs, addresses and data-set names -> the text they hold.

    Args:
        columns_if_present: the columns are named for other data; as in `LmText`.

    Raises:
        DataError: a pattern names nothing, a source cannot be read, or there is no text in any of them.
    """
    found: list[str] = []
    for pattern in patterns:
        if is_address(pattern):
            found += map(str, fetched(pattern, offline))
            continue
        path = Path(os.path.expanduser(pattern))
        if path.is_dir() and not _is_data_set(path):
            files = sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p))
            if not files:
                raise DataError("no text file in this folder", pattern, "it takes .txt and tabular files")
            found += map(str, files)
        elif path.exists() or not any(sign in pattern for sign in "*?["):
            found.append(
                str(path)
            )  # a name that is no path may be `sample` or on the Hub; reading it will tell
        else:
            root = Path(path.anchor) if path.is_absolute() else Path()
            matches = sorted(root.glob(str(path.relative_to(path.anchor))))
            if not matches:
                raise DataError("no file matches", pattern, "check the pattern given as text")
            found += [str(match) for match in matches if match.is_file()]
    text = LmText(tuple(found), columns, at_hand, offline, columns_if_present)
    text.check()
    return text


def _is_text(path: Path) -> bool:
    return format_and_codec(path)[0] in (".txt", *TABULAR_SUFFIXES)


def _is_data_set(folder: Path) -> bool:
    """A folder with a train split is read as a data set, which leaves its test split out."""
    return any(path.name.split(".")[0] == "train" for path in folder.iterdir())


def _content_mark(file: Path) -> bytes:
    """A hash of a file's size and of a block at its beginning, middle and end; of a small file, of the whole."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode() + b"\0")
    with file.open("rb") as stream:
        if size <= 3 * FINGERPRINT_BLOCK:
            digest.update(stream.read())
        else:
            for start in (0, (size - FINGERPRINT_BLOCK) // 2, size - FINGERPRINT_BLOCK):
                stream.seek(start)
                digest.update(stream.read(FINGERPRINT_BLOCK))
    return digest.digest()


def _pieces(text: str) -> Iterator[str]:
    """A text, or parts of at most `LONGEST_TEXT` characters that follow each other in it."""
    start = 0
    while len(text) - start > LONGEST_TEXT:
        middle, end = start + LONGEST_TEXT // 2, start + LONGEST_TEXT
        gap = max(text.rfind(sign, middle, end) for sign in " \n\t")
        cut = end if gap < 0 else gap
        yield text[start:cut]
        start = cut
    yield text[start:] if start else text


def _lines(file: Path) -> Iterator[str]:
    with open_text(file) as lines:
        for line in lines:
            if text := line.strip():
                yield text
