"""A file that is read for long, or more than once, has to stay as it was."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlptl.errors import DataError

Mark = tuple[int, int, int]


def file_mark(path: Path) -> Mark | None:
    """What changes when a file is replaced or written to; None of what is no file, such as a pipe, or not there."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # not there, or no name for a file
        return None  # whoever opens it will say so
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None


@contextmanager
def unchanged(path: Path, since: Mark | None) -> Iterator[None]:
    """The file is as it was when it was marked, from the beginning of the block to its end.

    One that is removed meanwhile was read whole, because what is open remains until it is closed.

    Raises:
        DataError: it is another, or was written to.
    """
    _check(path, since)
    yield
    _check(path, since)


def _check(path: Path, since: Mark | None) -> None:
    now = file_mark(path)
    if since is not None and now is not None and now != since:
        remedy = "run again when nothing writes to it"
        raise DataError("the file has changed while it was read", f"in {path}", remedy)
