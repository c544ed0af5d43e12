"""Folds of labelled rows, for what validation rows are too few to choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEW = 500  # of fewer validation texts the least loss is luck: training texts are asked as well


def dealt_folds(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, (rows,): every class is dealt evenly into them, at random.

    Args:
        labels: (rows,), or (rows, classes) of zeros and ones, whose rows are dealt as if of one class.
    """
    keys = np.random.default_rng(seed).random(len(labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[np.lexsort((keys, labels)) if labels.ndim == 1 else np.argsort(keys)] = (
        np.arange(len(labels)) % folds
    )
    return fold
