"""Where labelled text lies: a file, a folder of splits, class folders, the sample, the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from nlptl.data.memory import held_splits
from nlptl.data.names import (
    SAMPLE,
    TABULAR_SUFFIXES,
    format_and_codec,
    local_source,
    nearest_path,
    no_such_source,
)
from nlptl.data.streams import open_text
from nlptl.data.tables import RawTable, open_table, row_table
from nlptl.data.unchanged import file_mark
from nlptl.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
SHARD = re.compile(r"-(\d+)-of-(\d+)$")
# The large movie review data set keeps its unlabelled reviews in a folder beside those of its classes.
UNLABELLED_FOLDERS = ("unsup", "unsupervised", "unlabeled", "unlabelled")


@dataclass(frozen=True)
class Split:
    """One split of a source, not read yet: the tables it is made of, in order.

    However often it is read, its files have to stay as they were when it was located.
    """

    place: str
    openers: Sequence[partial[RawTable]]
    notes: list[str] = field(default_factory=list)

    def tables(self) -> Iterator[RawTable]:
        """Each table, opened when its turn comes."""
        return (opener() for opener in self.openers)


def locate(source: str, offline: bool = False) -> dict[str, Split]:
    """The splits of a source, keyed train, validation and test; a single file is under train.

    `sample` always means the set in the package (a folder of that name is `./sample`); what is neither a
    file nor a folder, and could be one, is looked for on the Hub.

    Raises:
        DataError: there is no such source, or no splits can be told in it.
    """
    if (held := held_splits(source)) is not None:
        from nlptl.data.hub import dataset_table

        place = {key: source if len(held) == 1 else f"{source} ({key})" for key in held}
        return _named_splits({key: dataset_table(place[key], split) for key, split in held.items()}, source)
    path = samples_folder() if source == SAMPLE else local_source(source)
    if path is None:
        from nlptl.data.hub import (  # and with it the library, which a file does not need
            is_reader_name,
            open_hub,
        )

        if is_reader_name(source):
            raise no_such_source(source)
        return _named_splits(open_hub(source, offline, nearest_path(Path(source))), source)
    if path.is_dir():
        return _locate_folder(path)
    return {"train": Split(str(path), [partial(open_table, path, file_mark(path))])}


def _named_splits(tables: Mapping[str, RawTable], source: str) -> dict[str, Split]:
    """Those tables that are named for a split.

    Raises:
        DataError: none is.
    """
    splits: dict[str, Split] = {}
    others = []
    for name, table in tables.items():
        key = SPLIT_NAMES.get(name)
        if key is None or key in splits:
            others.append(name)
        else:
            splits[key] = Split(table.place, [partial(_opened, table)])
    if not splits:
        remedy = f"it has {', '.join(others)}: save the rows that are meant as a file"
        raise DataError("no split is named train, validation or test", f"in {source}", remedy)
    return _with_note(splits, source, others)


def choose_split(source: str, splits: dict[str, Split], preferred: Sequence[str]) -> Split:
    """The first of the preferred splits that is there, else the only one.

    Raises:
        DataError: it is not plain which is meant.
    """
    for key in preferred:
        if key in splits:
            return splits[key]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise DataError(
        f"it is not plain which split is meant: {', '.join(splits)}", f"in {source}", "name one file"
    )


def samples_folder() -> Path:
    """The folder of the labelled set that ships with the package."""
    return Path(str(resources.files("nlptl.data") / "samples"))


def _opened(table: RawTable) -> RawTable:
    return table


def _with_note(splits: dict[str, Split], source: str, unread: Sequence[str]) -> dict[str, Split]:
    if unread:
        shown = ", ".join(unread[:10]) + (" ..." if len(unread) > 10 else "")
        note = f"not read in {source}, named for no split: {shown}"
        next(iter(splits.values())).notes.append(note)
    return splits


def _locate_folder(folder: Path) -> dict[str, Split]:
    named: dict[str, list[Path]] = {}
    unread = []
    for path in _entries(folder):
        suffix = format_and_codec(path)[0]
        if suffix not in TABULAR_SUFFIXES or path.name.startswith("."):
            continue
        stem = path.name[: path.name.lower().rindex(suffix)].lower()
        key = SPLIT_NAMES.get(SHARD.sub("", stem))
        if key is None:
            unread.append(path.name)
        else:
            named.setdefault(key, []).append(path)
    if named:
        splits = {key: _split_of_files(folder, key, named[key]) for key in _in_order(named)}
        return _with_note(splits, str(folder), unread)

    by_split: dict[str, list[Path]] = {}
    for item in _subfolders(folder):
        key = SPLIT_NAMES.get(item.name.lower())
        if key is not None and _class_folders(item):
            by_split.setdefault(key, []).append(item)
    if by_split:
        for key, folders in by_split.items():
            if len(folders) > 1:
                raise _several(key, folders, folder)
        return {key: _split_of_classes(by_split[key][0]) for key in _in_order(by_split)}
    if _class_folders(folder):
        return {"train": _split_of_classes(folder)}
    remedy = (
        f"name one of {', '.join(unread[:5])} itself, or call it train{format_and_codec(Path(unread[0]))[0]}"
        if unread
        else f"it takes train and test files ({', '.join(TABULAR_SUFFIXES)}) or a folder of .txt a class"
    )
    raise DataError(
        "no file is named for a split and no folder holds the texts of a class", f"in {folder}", remedy
    )


def _in_order(keys: dict[Any, Any]) -> list[str]:
    return [key for key in ("train", "validation", "test") if key in keys]


def _split_of_files(folder: Path, key: str, paths: Sequence[Path]) -> Split:
    if len(paths) == 1 and not SHARD.search(paths[0].name.split(".")[0]):
        return Split(str(paths[0]), [partial(open_table, paths[0], file_mark(paths[0]))])
    shards = [SHARD.search(path.name.split(".")[0]) for path in paths]
    totals = {int(shard[2]) if shard else 0 for shard in shards}
    if totals == {0} or len(totals) > 1:
        raise _several(key, paths, folder)
    if len(paths) != totals.pop():
        listed = ", ".join(path.name for path in paths[:5])
        raise DataError(
            f"parts of {key} are missing: there are only {listed}", f"in {folder}", "copy all of them"
        )
    return Split(str(folder / key), [partial(open_table, path, file_mark(path)) for path in paths])


def _several(key: str, paths: Sequence[Path], folder: Path) -> DataError:
    listed = ", ".join(path.name for path in paths[:5])
    return DataError(f"more than one is named for {key}: {listed}", f"in {folder}", "keep one of them there")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"the folder cannot be read ({error.strerror})", str(folder)) from None


def _subfolders(folder: Path) -> list[Path]:
    return [item for item in _entries(folder) if item.is_dir() and not item.name.startswith(".")]


def _class_folders(folder: Path) -> list[Path]:
    return [item for item in _subfolders(folder) if any(item.glob("*.txt"))]


def _split_of_classes(folder: Path) -> Split:
    classes = _class_folders(folder)
    notes = [
        f"not read in {folder}, a folder without .txt files: {item.name}"
        for item in _subfolders(folder)
        if item not in classes
    ]
    notes += [
        f"the texts of {item} are taken as unlabelled"
        for item in classes
        if item.name.lower() in UNLABELLED_FOLDERS
    ]

    def rows(wanted: Sequence[str]) -> Iterator[list[Any]]:
        for item in classes:
            label = None if item.name.lower() in UNLABELLED_FOLDERS else item.name
            for path in sorted(item.glob("*.txt")):
                row = {"label": label, "text": _document(path) if "text" in wanted else None}
                yield [row[name] for name in wanted]

    return Split(
        str(folder), [partial(row_table, str(folder), ["text", "label"], ["text", "label"], rows)], notes
    )


def _document(path: Path) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return ""
    with open_text(path) as text:
        return text.read().rstrip("\n")
