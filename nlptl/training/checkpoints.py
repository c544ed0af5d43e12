"""Folders that appear whole or not at all: checkpoints and models."""

from __future__ import annotations

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


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's `checkpoints` folder; half-written ones have another name."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return max(found, key=lambda path: int(path.name.removeprefix(PREFIX)), default=None)


def remove_other_checkpoints(kept: Path) -> None:
    """Keep one checkpoint only."""
    for path in kept.parent.glob(f"{PREFIX}*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)
