"""A bad input: the command line that meets it, what is said of it, and how it is made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

Prepare = Callable[[Path, dict[str, Path]], object]
MARKER = "a-pickle-ran-this"
GOOD = "text,label\n" + "".join(f"review {n},{'good' if n % 2 else 'bad'}\n" for n in range(12))
MENTION = r"; .*--help`"


class Row(NamedTuple):
    """One bad input: its name, the command line, what the message says, and how the input is made."""

    id: str
    line: str
    message: str
    prepare: Prepare = lambda folder, good: None


class MarksAFile:
    """What a malicious pickle does when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARKER}",)


def file(name: str, content: str | bytes) -> Prepare:
    """A file with this content."""

    def prepare(folder: Path, good: dict[str, Path]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def made_by_torch(name: str, content: Any) -> Prepare:
    """A file that torch wrote."""
    return lambda folder, good: torch.save(content, folder / name)


def several(*steps: Prepare) -> Prepare:
    """One after the other."""
    return lambda folder, good: [step(folder, good) for step in steps]


def folder(name: str) -> Prepare:
    """An empty folder."""
    return lambda folder, good: (folder / name).mkdir()


def model(source: str, damage: Callable[[Path], object], name: str = "m") -> Prepare:
    """A copy of a good model, then damaged."""
    return lambda folder, good: (
        shutil.copytree(good[source] / "model", folder / name),
        damage(folder / name),
    )


def config(**values: Any) -> Callable[[Path], object]:
    """Other values in a model's config."""

    def damage(path: Path) -> None:
        known = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**known, **values}))

    return damage


def cut(name: str, to_bytes: int) -> Callable[[Path], object]:
    """A file of a model cut short."""
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:to_bytes])


def without(*names: str) -> Callable[[Path], object]:
    """A model without some of its files."""

    def damage(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return damage
