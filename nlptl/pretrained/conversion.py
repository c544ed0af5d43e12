"""A checkpoint of an original system -> a model folder, whole or not at all."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptl.errors import ModelError
from nlptl.families import FAMILIES
from nlptl.families.base import Family, ImportSettings
from nlptl.pretrained.checks import read_shapes
from nlptl.pretrained.downloads import place


@dataclass(frozen=True)
class Converted:
    """A model folder that waits to be moved to its place.

    Attributes:
        path: `model` in a temporary folder beside that place.
        facts: `parameters`, `vocabulary`, `ignored_keys`.
        notes: for the user.
    """

    path: Path
    facts: dict[str, Any]
    notes: list[str]


def family_of(source: str) -> Family:
    """The family whose checkpoints a system wrote."""
    return next(family for family in FAMILIES.values() if source in family.imports)


@contextmanager
def converted(
    source: str, files: Mapping[str, Path], output: Path, settings: ImportSettings
) -> Iterator[Converted]:
    """Convert a checkpoint beside `output`, which need not be there yet; what is not moved away by the end is removed.

    Args:
        source: the system that wrote it, or `native` for a folder of `transformers` whose files are taken as they are.
        files: by the options of `nlptl models import`; of a native folder by their names.

    Raises:
        ModelError: a file is damaged, refused, or does not fit the others.
    """
    with beside(output) as folder:
        model = folder / "model"
        model.mkdir()
        if source == "native":
            for name, path in files.items():
                place(path, model / name)
            yield Converted(model, _native_facts(model), [])
        else:
            facts = family_of(source).convert(files, model, settings)
            yield Converted(model, facts, facts.pop("notes"))


@contextmanager
def beside(output: Path) -> Iterator[Path]:
    """A temporary folder on the file system of `output`, which need not be there yet."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if path.is_dir())
    with tempfile.TemporaryDirectory(prefix=".nlptl-import-", dir=there) as folder:
        yield Path(folder)


def _native_facts(model: Path) -> dict[str, Any]:
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        vocabulary = config["vocab_size"]
    except (ValueError, KeyError, TypeError):
        raise ModelError("not a model's config", str(model / "config.json"), "download it again") from None
    shapes = read_shapes(model / "model.safetensors")
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return {"parameters": parameters, "vocabulary": vocabulary, "ignored_keys": []}
