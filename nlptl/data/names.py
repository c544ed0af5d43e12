"""What a user names as a source of text, looked up on this disk; light, so that a wrong name is told at once."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from nlptl.errors import DataError

TABULAR_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow")
CODECS = {".gz": "gzip", ".zst": "zstd"}
SAMPLE = "sample"  # the set in the package; a folder of that name is ./sample
IN_MEMORY = " in memory>"  # ends the name of data that is in no file
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(:[\w.-]+)?")


def format_and_codec(path: Path) -> tuple[str, str | None]:
    """`reviews.csv.gz` -> ('.csv', 'gzip'), `reviews.CSV` -> ('.csv', None)."""
    codec = CODECS.get(path.suffix.lower())
    inner = Path(path.stem) if codec else path
    return inner.suffix.lower(), codec


def is_address(source: str) -> bool:
    """Whether a source names its protocol, as no path here does."""
    return "://" in source


def local_source(source: str) -> Path | None:
    """The file or folder of that name; None where it can only be the sample or a data set of the Hub.

    Raises:
        DataError: there is no such path, and no data set can have the name; or it was data in memory.
    """
    if not source.strip():
        raise DataError("the data source has no name", None, "name a file, a folder or a Hub data set")
    if source == SAMPLE:
        return None
    if source.startswith("<") and source.endswith(IN_MEMORY):
        remedy = "give it again in Python, or name a file that holds it"
        raise DataError("the data was in the memory of the Python program that made the run", source, remedy)
    path = Path(os.path.expanduser(source))
    try:
        exists = path.exists()
    except OSError as error:  # a text instead of a file's name is too long for one
        remedy = "to read texts themselves, give - and pass them by standard input"
        raise DataError(f"no such file or folder ({error.strerror})", f"{source[:40]}...", remedy) from None
    if exists:
        return path
    if path.is_symlink():
        raise DataError("a link that leads nowhere", source, "mend the link")
    if not has_hub_form(source):
        raise no_such_source(source)
    return None


def has_hub_form(source: str) -> bool:
    """Whether a source that does not exist here has the form `name[:config]` rather than that of a path."""
    path = Path(source)
    if not HUB_NAME.fullmatch(source) or format_and_codec(path)[0] in (*TABULAR_SUFFIXES, ".txt"):
        return False
    return path.suffix.lower() not in CODECS and not (len(path.parts) > 1 and path.parent.exists())


def no_such_source(source: str) -> DataError:
    """Says so, and what is near."""
    path = Path(os.path.expanduser(source))
    missing_folder = None if path.parent.is_dir() else f"there is no folder {path.parent} either"
    return DataError("no such file or folder", source, missing_folder or nearest_path(path))


def nearest_path(path: Path) -> str | None:
    """A question after a path beside it of a similar name; None where there is none."""
    folder = path.parent
    if not folder.is_dir():
        return None
    try:
        names = sorted(item.name for item in folder.iterdir())
    except OSError as error:
        raise DataError(f"the folder cannot be read ({error.strerror})", str(folder)) from None
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {folder / near[0]}?" if near else None
