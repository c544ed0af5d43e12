"""Texts that occur more than once: within the training rows, and in what they are measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa


def _keys(table: pa.Table, *, folded: bool = False) -> Iterator[bytes]:
    """A digest of each row's text (and second text): a twentieth of the memory that the texts take.

    Args:
        folded: texts that differ in case and white space alone have the same.
    """
    names = [name for name in ("text", "text_pair") if name in table.column_names]
    for batch in table.select(names).to_batches(max_chunksize=1024):
        for texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if folded:
                texts = tuple(" ".join(text.casefold().split()) for text in texts)
            yield hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()


def repeats(train: pa.Table, place: str) -> list[str]:
    """Notes on training rows with the text of an earlier one, and on texts of several labels; all kept."""
    labels: dict[bytes, object] = {}
    repeated = 0
    at_odds: set[bytes] = set()
    for key, label in zip(_keys(train), train["label"].to_pylist(), strict=True):
        label = frozenset(label) if isinstance(label, list) else label
        if key in labels:
            repeated += 1
            if labels[key] != label:
                at_odds.add(key)
        else:
            labels[key] = label
    notes = []
    if repeated:
        notes.append(f"{_rows(repeated, '')} the text of an earlier row of {place} (kept)")
    if at_odds:
        texts = "1 text has" if len(at_odds) == 1 else f"{len(at_odds):,} texts have"
        notes.append(f"{texts} different labels in different rows of {place} (kept)")
    return notes


def leakage(train: pa.Table, held_out: pa.Table, name: str) -> list[str]:
    """A note on held-out rows whose text is trained on, in whatever case and white space; they are kept."""
    trained = set(_keys(train, folded=True))
    if count := sum(key in trained for key in _keys(held_out, folded=True)):
        return [
            f"{_rows(count, f' of the {name} data')} a text that is in train too, case and white space aside "
            "(kept: figures may flatter)"
        ]
    return []


def _rows(count: int, of: str) -> str:
    return f"1 row{of} has" if count == 1 else f"{count:,} rows{of} have"
