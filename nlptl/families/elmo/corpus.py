"""Text for the biLM: words numbered, rare ones with their spelling, in windows of two streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlptl.families.elmo.characters import BOS, EOS, PAD, UNK, mark_ids
from nlptl.families.elmo.tokenization import SPECIAL_WORDS, ElmoTokenizer
from nlptl.training.language_modeling import Window
from nlptl.training.windows import Corpus, CorpusEncoder, Windows, fitting_rows

MOST_SPELLINGS = 4_000_000  # beyond these a rare word is spelled as the unknown word


def corpus_encoder(tokenizer: ElmoTokenizer) -> CorpusEncoder:
    """Texts -> the numbers of `<S>`, their words and `</S>`."""
    begin, end, unknown = (SPECIAL_WORDS.index(word) for word in (BOS, EOS, UNK))
    spellings: list[str] = []
    numbers: dict[str, int] = {}

    def rare(word: str) -> int:
        if word not in numbers:
            if len(spellings) >= MOST_SPELLINGS:
                return unknown
            numbers[word] = tokenizer.vocab_size + len(spellings)
            spellings.append(word)
        return numbers[word]

    def encode(texts: list[str]) -> list[list[int]]:
        result = []
        for text in texts:
            words = tokenizer.words(text)
            known = tokenizer.word_ids(words)
            inner = [rare(word) if n is None else n for word, n in zip(words, known, strict=True)]
            result.append([begin, *inner, end])
        return result

    return CorpusEncoder(encode, tokenizer.vocab_size, spellings, unknown)


@dataclass(frozen=True)
class TwoStreams:
    """Windows of a text read forward and of the same text read from its end, for truncated BPTT of both directions.

    Item `i` holds window `i // rows` of stream `i % rows` of either: the characters of its words (length, 50), the
    number of the word after each (length,), and the same of the text in reverse.

    Attributes:
        forward, backward: windows of the words' numbers; `backward` over the reversed text, in reading order.
        spelling: (words, 50), the characters of every number.
        vocabulary: numbers from here on are predicted as `unknown`.
    """

    forward: Windows
    backward: Windows
    spelling: NDArray[np.int16]
    vocabulary: int
    unknown: int

    @property
    def rows(self) -> int:
        """Streams of each direction."""
        return self.forward.rows

    def __len__(self) -> int:
        return len(self.forward)

    def __getitem__(self, item: int) -> Window:
        arrays: list[NDArray[np.integer[Any]]] = []
        for windows in (self.forward, self.backward):
            inputs, targets = windows[item]
            arrays += [self.spelling[inputs], np.where(targets < self.vocabulary, targets, self.unknown)]
        return tuple(arrays)


def two_streams(corpus: Corpus, rows: int, length: int, tokenizer: ElmoTokenizer) -> TwoStreams:
    """Windows of a corpus in both directions; of a small one in fewer streams.

    Raises:
        DataError: fewer than two words, so that there is nothing to predict.
    """
    rows = fitting_rows(len(corpus.ids), rows, length)
    ordinary = range(len(SPECIAL_WORDS), tokenizer.vocab_size)
    words = [UNK, *tokenizer.convert_ids_to_tokens(list(ordinary)), *corpus.spellings]
    marks = np.stack([mark_ids(mark) for mark in (PAD, BOS, EOS)])
    spelling = np.concatenate([marks, tokenizer.spelled(words)])
    return TwoStreams(
        forward=Windows(corpus.ids, rows, length),
        backward=Windows(corpus.ids[::-1], rows, length),
        spelling=spelling,
        vocabulary=tokenizer.vocab_size,
        unknown=SPECIAL_WORDS.index(UNK),
    )


def two_stream_batch(windows: Sequence[Window]) -> dict[str, Tensor]:
    """Windows of two streams -> what the language model takes for training."""
    names = ("input_ids", "targets", "backward_input_ids", "backward_targets")
    columns = map(np.stack, zip(*windows, strict=True))
    return {name: torch.from_numpy(array).long() for name, array in zip(names, columns, strict=True)}
