"""The text of a language model, wherever it comes from: files of lines, data sets with a text column, or at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlptl.data.columns import UNNAMED, Columns
from nlptl.data.datasets import TABULAR_SUFFIXES, iterate_texts
from nlptl.data.streams import format_and_codec, open_text
from nlptl.errors import DataError


@dataclass(frozen=True)
class LmText:
    """Texts to read as often as need be, in a fixed order.

    Attributes:
        sources: paths of `.txt` files (a line is a text) and of data sets.
        columns: where a data set keeps its texts.
        at_hand: further texts, such as the training texts of the task.
        offline: never look for a data set on the Hub.
    """

    sources: tuple[str, ...]
    columns: Columns = UNNAMED
    at_hand: Sequence[str] = ()
    offline: bool = False

    def __iter__(self) -> Iterator[str]:
        for source in self.sources:
            if format_and_codec(Path(source))[0] == ".txt":
                yield from _lines(Path(source))
            else:
                yield from iterate_texts(source, self.columns, offline=self.offline)
        yield from self.at_hand

    def check(self) -> None:
        """Open every source for its first text, so that a bad one is found before any work is done.

        Raises:
            DataError: one cannot be read, or there is no text in any of them.
        """
        first = [next(iter(replace(self, sources=(source,), at_hand=())), None) for source in self.sources]
        if self.sources and not any(first):
            raise DataError("no text in it", f"in {', '.join(self.sources[:3])}", "give files that hold text")

    def sample(self, characters: int) -> Iterator[str]:
        """Evenly spread texts that hold about so many characters; all texts where there are fewer."""
        total = sum(map(len, self))
        share = min(1.0, characters / max(1, total))
        for number, text in enumerate(self):
            if int((number + 1) * share) > int(number * share) or share == 1.0:
                yield text

    def fingerprint(self) -> str:
        """Changes when a file changes its size or time, or a text at hand its letters."""
        digest = hashlib.sha256()
        for source in self.sources:
            path = Path(source)
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in inside:
                facts = file.stat() if file.exists() else None
                said = (
                    f"{file.absolute()} {facts.st_size if facts else 0} {facts.st_mtime_ns if facts else 0}"
                )
                digest.update(said.encode("utf-8", errors="surrogateescape") + b"\0")
        for text in self.at_hand:
            digest.update(text.encode("utf-8", errors="surrogatepass") + b"\0")
        digest.update(repr(self.columns).encode())
        return digest.hexdigest()[:24]


def find_lm_text(
    patterns: Sequence[str], columns: Columns = UNNAMED, at_hand: Sequence[str] = (), offline: bool = False
) -> LmText:
    """Paths, folders (all their text files), globs and data-set names -> the text they hold.

    Raises:
        DataError: a pattern names nothing, a source cannot be read, or there is no text in any of them.
    """
    found: list[str] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
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
    text = LmText(tuple(found), columns, at_hand, offline)
    text.check()
    return text


def _is_text(path: Path) -> bool:
    return format_and_codec(path)[0] in (".txt", *TABULAR_SUFFIXES)


def _is_data_set(folder: Path) -> bool:
    """A folder with a train split is read as a data set, which leaves its test split out."""
    return any(path.name.split(".")[0] == "train" for path in folder.iterdir())


def _lines(file: Path) -> Iterator[str]:
    with open_text(file) as lines:
        for line in lines:
            if text := line.strip():
                yield text
