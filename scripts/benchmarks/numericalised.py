"""Labelled texts as ids by fastai's words: made once and kept in a file, the same for every system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

PARTS = (
    "train",
    "validation",
    "held_out",
)  # to learn from, to choose a head's regularisation by, to measure with
PAD, CHUNK, REACH = (
    1,
    72,
    1440,
)  # fastai's: its padding, and tokens that it reads at a time and trains through


@dataclass(frozen=True)
class Part:
    """Texts as ids, and their labels (texts,)."""

    ids: list[np.ndarray]
    labels: np.ndarray

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(row) for row in self.ids]

    def beginning(self, texts: int) -> Part:
        """The first so many texts."""
        return Part(self.ids[:texts], self.labels[:texts])


def prepared(data: str, texts: int, held_out: int, file: str) -> dict[str, Any]:
    """Write the ids and labels of all parts; what is known of them."""
    import nlptl
    from nlptl.data.datasets import Columns, encode_labels, load_task
    from nlptl.data.encoding import encode_rows
    from nlptl.families.ulmfit.tokenization import train_word_tokenizer

    nlptl.register_families()
    task = load_task(data, columns=Columns(), limit=texts or None, offline=True)
    if task.test is None:
        raise ValueError(f"{data} has no test texts")
    measured = task.test.shuffle(seed=0)
    measured = measured.select(range(min(held_out, len(measured))))
    tokenizer = train_word_tokenizer(task.train["text"])
    arrays: dict[str, Any] = {}
    for name, rows in zip(PARTS, (task.train, task.validation, measured), strict=True):
        ids = [encoding["input_ids"] for encoding in encode_rows(rows, tokenizer, None).encodings]
        arrays[f"{name}_ids"] = np.concatenate(ids).astype(np.int64)
        arrays[f"{name}_lengths"] = np.asarray([len(row) for row in ids])
        arrays[f"{name}_labels"] = np.asarray(encode_labels(rows, task.label_names)[0]["label_id"])
    np.savez(file, **arrays)
    lengths = {name: arrays[f"{name}_lengths"] for name in PARTS}
    return {
        "classes": len(task.label_names),
        "words": len(tokenizer),
        "texts": {name: len(each) for name, each in lengths.items()},
        "tokens a text": {name: float(each.mean()) for name, each in lengths.items()},
    }


def read(file: str, name: str) -> Part:
    """One of `PARTS`."""
    with np.load(file) as stored:
        borders = np.cumsum(stored[f"{name}_lengths"])[:-1]
        return Part(np.split(stored[f"{name}_ids"], borders), stored[f"{name}_labels"])
