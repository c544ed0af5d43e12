"""What a format of features is: it takes row after row, and holds the vectors of few of them in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureRow:
    """One row of a file.

    Attributes:
        row: its number in the data.
        label: a string, a list of strings, or None.
        features: (width,), (tokens, width) or (layers, tokens, width).
        sentence: what the layout of `allennlp elmo` finds a row by; None where the file has no such list.
    """

    row: int
    label: Any
    features: NDArray[np.float32]
    sentence: str | None = None


class FeatureFile(ABC):
    """A file in the making, under a name of its own until it is whole.

    Args:
        path: the name it is to get.
        labels: the type of the labels; None where there are none.
        facts: what made the file.
    """

    row_bytes = 0
    """What a row takes beside its vectors and its label, about."""

    def __init__(self, path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> None:
        self.path, self.labels, self.facts = path, labels, dict(facts)
        self.partial = in_the_making(path)

    @classmethod
    def names(cls, path: Path) -> dict[Path, Path | None]:
        """Every file that is made -> the name that it gets at the end, in this order; None where it has served.

        What lies beside the file gets its name first: where `path` is, all that belongs to it is there.
        """
        return {in_the_making(path): path}

    @abstractmethod
    def write(self, item: FeatureRow) -> None:
        """Take the next row."""

    @abstractmethod
    def finish(self) -> None:
        """All rows were written: put the file on the disk."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open, also after a failure."""


def in_the_making(path: Path) -> Path:
    """The name of a file until it is whole."""
    return path.with_name(f".{path.name}.partial")
