"""Text for the biLM: every word is predicted once in each direction, from its neighbours' characters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlptl.data.corpora import TokenCorpus
from nlptl.families.elmo.characters import BOS, EOS, character_ids, mark_ids
from nlptl.families.elmo.corpus import TwoStreams, corpus_encoder, two_stream_batch, two_streams
from nlptl.families.elmo.tokenization import SPECIAL_WORDS, ElmoTokenizer

TEXTS = ["the film was dull", "the rare plot was the film", "zany"] * 6
UNKNOWN = 3


@pytest.fixture
def tokenizer() -> ElmoTokenizer:
    return ElmoTokenizer([*SPECIAL_WORDS, "the", "film", "was"], lowercase=True)


def windows_of(tokenizer: ElmoTokenizer, rows: int, length: int) -> tuple[TwoStreams, TokenCorpus]:
    encoder = corpus_encoder(tokenizer)
    ids = np.concatenate([np.asarray(row) for row in encoder.encode(TEXTS)])
    corpus = TokenCorpus(ids, texts=len(TEXTS), characters=0, spellings=encoder.spellings or ())
    return two_streams(corpus, rows, length, tokenizer), corpus


def test_rare_words_are_numbered_beyond_the_vocabulary(tokenizer: ElmoTokenizer) -> None:
    encoder = corpus_encoder(tokenizer)
    assert encoder.encode(["the plot", "Plot <S> was"]) == [[1, 4, 7, 2], [1, 7, 8, 9, 10, 6, 2]]
    assert encoder.spellings == ["plot", "<", "s", ">"]
    assert (encoder.vocabulary, encoder.unknown) == (7, UNKNOWN)


def test_both_streams_hold_the_whole_text(tokenizer: ElmoTokenizer) -> None:
    """Read window by window, each stream is a stretch of the text, or of the text in reverse, with its next words."""
    windows, corpus = windows_of(tokenizer, rows=3, length=5)
    spelling = [
        mark_ids("<PAD>"),
        mark_ids(BOS),
        mark_ids(EOS),
        *map(character_ids, ["<UNK>", "the", "film", "was"]),
    ]
    spelling += [character_ids(word) for word in corpus.spellings]
    steps = len(windows) // windows.rows
    for direction, ids in ((0, corpus.ids), (2, corpus.ids[::-1])):
        length = (len(ids) - 1) // windows.rows
        for row in range(windows.rows):
            parts = [windows[step * windows.rows + row] for step in range(steps)]
            characters = np.concatenate([part[direction] for part in parts])
            targets = np.concatenate([part[direction + 1] for part in parts])
            stretch = ids[row * length : (row + 1) * length + 1]
            assert np.array_equal(characters, np.stack([spelling[number] for number in stretch[:-1]]))
            assert targets.tolist() == [number if number < 7 else UNKNOWN for number in stretch[1:]]


def test_a_batch_has_what_the_language_model_takes(tokenizer: ElmoTokenizer) -> None:
    windows, _ = windows_of(tokenizer, rows=2, length=4)
    batch = two_stream_batch([windows[0], windows[1]])
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (2, 4, 50),
        "targets": (2, 4),
        "backward_input_ids": (2, 4, 50),
        "backward_targets": (2, 4),
    }
    assert all(tensor.dtype == torch.long for tensor in batch.values())
