"""Texts as numbers, one a token, and windows of them for truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nlptl.errors import DataError

FEWEST_WINDOWS = 4  # of a stream, so that there is a state to carry


@dataclass(frozen=True)
class CorpusEncoder:
    """Texts -> one number a token.

    Attributes:
        encode: a batch of texts -> the numbers of their tokens.
        vocabulary: how many tokens the model can predict; their numbers come first.
        spellings: of the tokens beyond the vocabulary, for a model that reads their letters: `encode` appends those
            it meets, and the first of them has the number `vocabulary`. None where every number is in the vocabulary.
        unknown: the token that stands for all beyond the vocabulary where one is to be predicted.
        in_python: `encode` is Python, so that several processes do it faster.
    """

    encode: Callable[[list[str]], Sequence[Sequence[int] | NDArray[np.integer[Any]]]]
    vocabulary: int
    spellings: list[str] | None = None
    unknown: int = 0
    in_python: bool = False


class Corpus(Protocol):
    """Numbers of tokens, (tokens,), and the spellings of those beyond the vocabulary, as `CorpusEncoder` has them."""

    @property
    def ids(self) -> NDArray[np.unsignedinteger]: ...

    @property
    def spellings(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Windows:
    """A corpus as parallel streams of consecutive windows, for truncated BPTT.

    Item `i` is window `i // rows` of stream `i % rows`, so that reading in order in batches of `rows` carries each
    stream's state from one batch to the next, and a resumed run finds its place by counting. The last window of
    every stream may be shorter. A backward language model reads the streams from the end of the corpus; its items
    are in the order of the text all the same.

    Attributes:
        ids: (tokens,), perhaps memory-mapped.
        rows: streams, which is the batch size.
        length: tokens of a window.
    """

    ids: NDArray[np.unsignedinteger]
    rows: int
    length: int
    backward: bool = False

    @property
    def stream_length(self) -> int:
        """Targets of each stream."""
        return (len(self.ids) - 1) // self.rows

    @property
    def windows(self) -> int:
        """Windows of each stream."""
        return -(-self.stream_length // self.length)

    @property
    def targets(self) -> int:
        """Tokens predicted in one pass: all but the first, and up to `rows - 1` that make no whole stream."""
        return self.rows * self.stream_length

    def __len__(self) -> int:
        return self.windows * self.rows

    def __getitem__(self, item: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and the token to predict at each of them, (length,) each."""
        window, row = divmod(item, self.rows)
        start = row * self.stream_length + window * self.length
        stop = min(start + self.length, (row + 1) * self.stream_length)
        if self.backward:
            end = len(self.ids)
            inputs, targets = self.ids[end - stop : end - start], self.ids[end - stop - 1 : end - start - 1]
        else:
            inputs, targets = self.ids[start:stop], self.ids[start + 1 : stop + 1]
        return np.asarray(inputs, dtype=np.int64), np.asarray(targets, dtype=np.int64)


def stream_windows(ids: NDArray[np.unsignedinteger], rows: int, length: int, backward: bool) -> Windows:
    """Windows of a corpus; of a small one in fewer streams, so that each has several windows.

    Raises:
        DataError: fewer than two tokens, so that there is nothing to predict.
    """
    if len(ids) < 2:
        raise DataError(
            "too little text: fewer than two tokens", "the language model's text", "give more text"
        )
    return Windows(ids, fitting_rows(len(ids), rows, length), length, backward)


def fitting_rows(tokens: int, rows: int, length: int) -> int:
    """As many streams as are asked for, or as few as leave each of them several windows."""
    return max(1, min(rows, (tokens - 1) // (FEWEST_WINDOWS * length)))
