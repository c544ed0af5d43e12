"""Class-balanced samples and stratified validation parts: row numbers from labels and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlptl.errors import DataError


def _rows_by_class(labels: Sequence[str], generator: np.random.RandomState) -> dict[str, list[int]]:
    """Row numbers of each class in random order; classes in sorted order, so that only the seed counts."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {name: [int(row) for row in generator.permutation(rows[name])] for name in sorted(rows)}


def balanced_sample(labels: Sequence[str], size: int, seed: int) -> list[int]:
    """Row numbers (ascending) of `size` rows, each class having the same number as far as it has rows.

    What does not divide evenly goes one row each to classes picked by the seed. A larger sample of the
    same seed holds the smaller one, so that a learning curve adds rows instead of changing them.

    Raises:
        DataError: fewer rows are asked for than there are classes.
    """
    # RandomState and not a Generator: its streams are the same in every version of numpy.
    generator = np.random.RandomState(seed)
    rows = _rows_by_class(labels, generator)
    if size < len(rows):
        remedy = f"ask for at least {len(rows)}"
        raise DataError(f"a sample of {size} rows cannot hold {len(rows)} classes", "in the limit", remedy)
    order = [sorted(rows)[place] for place in generator.permutation(len(rows))]
    taken = dict.fromkeys(order, 0)
    left = min(size, len(labels))
    while left:
        open_classes = [name for name in order if taken[name] < len(rows[name])]
        share = max(1, left // len(open_classes))
        for name in open_classes[:left]:
            more = min(share, len(rows[name]) - taken[name])
            taken[name] += more
            left -= more
    return sorted(row for name in order for row in rows[name][: taken[name]])


def random_sample(labels: Sequence[object], size: int, seed: int) -> list[int]:
    """Row numbers (ascending) of `size` rows, whatever their labels: multi-label rows are of no one class."""
    return sorted(int(row) for row in np.random.RandomState(seed).permutation(len(labels))[:size])


def stratified_validation(labels: Sequence[str], fraction: float, seed: int) -> list[int]:
    """Row numbers (ascending) of the validation part: `fraction` of each class, rounded.

    A class of two rows or more gives at least one and keeps at least one; a class of one row gives none.
    """
    chosen: list[int] = []
    for rows in _rows_by_class(labels, np.random.RandomState(seed)).values():
        if len(rows) > 1:
            count = min(max(1, int(len(rows) * fraction + 0.5)), len(rows) - 1)
            chosen += rows[:count]
    return sorted(chosen)
