"""Tokenised texts with their labels: what both strategies learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from nlptl.training.batching import Encoding


@dataclass(frozen=True)
class Examples(Dataset[dict[str, Any]]):
    """Texts in the order of their source.

    Attributes:
        encodings: `input_ids` and `attention_mask` of each text.
        labels: (texts,) class numbers, or (texts, classes) of zeros and ones.
    """

    encodings: list[Encoding]
    labels: NDArray[Any]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(encoding["input_ids"]) for encoding in self.encodings]

    def __len__(self) -> int:
        return len(self.encodings)

    def __getitem__(self, item: int) -> dict[str, Any]:
        label = self.labels[item]
        kind = np.float32 if np.ndim(label) else np.int64
        return {**self.encodings[item], "labels": np.asarray(label, dtype=kind)}
