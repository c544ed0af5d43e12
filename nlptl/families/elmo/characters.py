"""Words as the biLM reads them: 50 numbers a word, one a byte, with marks for its beginning, end and padding.

Source: bilm-tf (`bilm/data.py`). Everything is one higher there than in its files, so that a row of zeros is no word.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

CHARACTERS = 262  # of a model: 256 bytes, five marks, and zero, which is no character
WORD_LENGTH = 50
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = 257, 258, 259, 260, 261
PAD, BOS, EOS, UNK = "<PAD>", "<S>", "</S>", "<UNK>"
_MARKS = {BOS: BEGIN_SENTENCE, EOS: END_SENTENCE}


def character_ids(word: str) -> NDArray[np.int16]:
    """The bytes of a word, (50,); of a long one the first 48, even where that cuts a letter of several bytes.

    Lone surrogates, which no byte sequence stands for, are read as question marks.
    """
    return _row(byte + 1 for byte in word.encode("utf-8", errors="replace")[: WORD_LENGTH - 2])


def mark_ids(mark: str) -> NDArray[np.int16]:
    """A sentence's beginning or end as a word, (50,); padding is no word and all zeros."""
    return np.zeros(WORD_LENGTH, dtype=np.int16) if mark == PAD else _row([_MARKS[mark]])


def boundaries(input_ids: Tensor) -> Tensor:
    """Which words are a sentence's beginning or end: (..., 50) -> (...) of booleans."""
    first = input_ids[..., 1]
    marks = (first == BEGIN_SENTENCE) | (first == END_SENTENCE)
    return (input_ids[..., 0] == BEGIN_WORD) & marks


def _row(characters: Iterable[int]) -> NDArray[np.int16]:
    row = np.full(WORD_LENGTH, PADDING, dtype=np.int16)
    written = [BEGIN_WORD, *characters, END_WORD]
    row[: len(written)] = written
    return row
