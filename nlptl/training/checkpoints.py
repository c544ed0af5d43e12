"""What a run writes appears whole or not at all: checkpoints, models, a log cut back to where it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "checkpoint-"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well, and is removed otherwise."""
    partial = folder.with_name(f".{folder.name}.partial")
    retired = folder.with_name(f".{folder.name}.retired")
    for leftover in (partial, retired):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        os.replace(folder, retired)
    os.replace(partial, folder)
    shutil.rmtree(retired, ignore_errors=True)


def restore_retired(folder: Path) -> None:
    """Put back a folder whose replacement was cut off between the two renames."""
    retired = folder.with_name(f".{folder.name}.retired")
    if retired.exists() and not folder.exists():
        os.replace(retired, folder)


def clear_away(path: Path, *, afresh: bool) -> None:
    """Remove what a run that was killed has left of a removed folder, and `afresh` the file or folder itself.

    A folder loses its name first: half removed it would be taken for whole.
    """
    removed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if afresh and path.is_dir() and not path.is_symlink():
        os.replace(path, removed)
        shutil.rmtree(removed)
    elif afresh:
        path.unlink(missing_ok=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's `checkpoints` folder; half-written ones have another name."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return max(found, key=lambda path: int(path.name.removeprefix(PREFIX)), default=None)


def remove_other_checkpoints(kept: Path) -> None:
    """Keep one checkpoint only."""
    for path in kept.parent.glob(f"{PREFIX}*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def drop_log_after(log: Path, step: int) -> None:
    """Forget the lines of steps that will be done again."""
    if log.is_file():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        partial = log.with_name(f".{log.name}.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, log)
