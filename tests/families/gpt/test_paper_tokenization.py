"""The paper's tokenisation beside its algorithm written out plainly, on odd texts; words that are given."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.families.gpt.paper_tokenization import (
    DELIMITER,
    EXTRACT,
    START,
    GptPaperTokenizer,
    read_merges,
    read_vocabulary,
)
from nlptl.families.gpt.tokenization import classifier_tokenizer

ftfy = pytest.importorskip("ftfy", reason="the paper's tokenisation needs ftfy")
spacy = pytest.importorskip("spacy", reason="the paper's tokenisation needs spaCy")

Pair = tuple[str, str]
ODD = [
    *"abcXYZ '.,-!?\"/\\_()[]{}|~*+;:0129\n\t$%&<>@#=^`—–…´éßİﬁ日😀",
    *("\u200b", "\u00ad", "\u00a0", "\u2028", "\x1c", "\x85", "\r\n", "e\u0301", " \n ", "Ã©", "ï¼"),
    *("don't", "cannot", "U.S.", "http://a.b/c", "&amp;", "``", "<unk>", "_start_", "</w>", "\\n", "film"),
]


@pytest.fixture(scope="module")
def released(recorded: Path) -> tuple[dict[str, int], list[Pair]]:
    return read_vocabulary(recorded / "encoder_bpe_40000.json"), read_merges(recorded / "vocab_40000.bpe")


def small() -> GptPaperTokenizer:
    pieces = ["<unk>", "a", "film", *"film", "a</w>", "m</w>", "b</w>", "\n</w>"]
    return GptPaperTokenizer({piece: row for row, piece in enumerate(dict.fromkeys(pieces))}, [])


def written_out(vocabulary: dict[str, int], merges: list[Pair]) -> Callable[[str], list[int]]:
    """Section 4.1 and the facts of the release in their order, with nothing remembered and nothing in Rust."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    words = spacy.blank("en").tokenizer

    def pieces(word: str) -> list[str]:
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == best:
                    symbols[place : place + 2] = ["".join(best)]
                place += 1
        return ["\n</w>"] if symbols == ["\n", " </w>"] else symbols

    def ids(text: str) -> list[int]:
        text = ftfy.fix_text(text)
        for sign, ascii_sign in (("—", "-"), ("–", "-"), ("―", "-"), ("…", "..."), ("´", "'")):
            text = text.replace(sign, ascii_sign)
        text = re.sub(r"(-+|~+|!+|\"+|;+|\?+|\++|,+|\)+|\(+|/+|\*+|\[+|\]+|\}+|\{+|\|+|_+)", r" \1 ", text)
        text = re.sub(r"[^\S\n]+", " ", re.sub(r"\s*\n\s*", " \n ", text)).strip()
        return [vocabulary.get(piece, 0) for word in words(text) for piece in pieces(word.text.lower())]

    return ids


def test_any_text_has_the_ids_of_the_algorithm_written_out(
    released: tuple[dict[str, int], list[Pair]],
) -> None:
    tokenizer, expected = GptPaperTokenizer(*released), written_out(*released)

    @given(st.lists(st.sampled_from(ODD), max_size=14).map("".join))
    @settings(max_examples=300, deadline=None)
    def check(text: str) -> None:
        assert tokenizer.text_ids(text) == expected(text)

    check()


def test_a_line_break_given_as_a_word_keeps_its_token() -> None:
    tokenizer = small()
    row = tokenizer.convert_tokens_to_ids("\n</w>")
    text = "a film\n\nb"
    words = tokenizer.words(text)
    assert tokenizer(words, is_split_into_words=True)["input_ids"] == tokenizer(text)["input_ids"]
    ids = tokenizer([["\n"], ["a", " ", "\t", "a"], ["\n\n", ""]], is_split_into_words=True)["input_ids"]
    a = tokenizer.convert_tokens_to_ids("a</w>")
    assert ids == [[row], [a, a], [row]]


def test_the_start_stays_where_the_body_was_trained_with_it() -> None:
    tuned = classifier_tokenizer(small(), extract=True)
    frozen = classifier_tokenizer(tuned, extract=False)
    start, delimiter = frozen.convert_tokens_to_ids([START, DELIMITER])
    a, b = frozen.convert_tokens_to_ids(["a</w>", "b</w>"])
    assert frozen("a", "b")["input_ids"] == [start, a, delimiter, b]
    assert frozen.cls_token is None
    assert len(frozen) == len(tuned)
    assert frozen.convert_tokens_to_ids(EXTRACT) == tuned.cls_token_id
