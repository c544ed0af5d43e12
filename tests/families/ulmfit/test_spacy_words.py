"""The quick splitting into words against its definition, and both against fastai's recorded tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("spacy", reason="the words of fastai's vocabularies need spaCy")

from nlptl.families.ulmfit import spacy_words
from nlptl.families.ulmfit.spacy_words import SpacyWords
from nlptl.families.ulmfit.text_rules import RULE_MARKERS, apply_rules

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared"
RECORDED = SHARED / "parity" / "ulmfit" / "tokens.json"

# What makes the context of a chunk matter: runs, repeated words, phrases across blanks, white space of all kinds.
FRAGMENTS = [
    *(
        ":",
        ")",
        ":)",
        ":-",
        "(",
        ";",
        "d",
        "X",
        "a",
        "a.",
        "a.m",
        "a.m.",
        "e.g.",
        "(e.g.",
        "'s",
        "''",
        "it's",
        "I'd",
    ),
    *(" ", "  ", "\n", "\t", "\xa0", "\x85", "\u3000", "<br />", "/", "#", "\\", "http://a.b/c", "www.a.b"),
    *(
        "!!!",
        "...",
        "aaa",
        "000",
        "3",
        "33",
        "2000",
        "wwwso",
        "so",
        "so so",
        "sozzz",
        "no",
        "xxrep",
        "xxwrep",
        "xxpad",
    ),
    *(
        "USA",
        "Foo",
        "don't",
        "cannot",
        "10am",
        "US$",
        "°C.",
        "amp;",
        "&lt;",
        "İ",
        "ΑΣ",
        "K",
        "é",
        "👍",
        "\ud800",
        "\x00",
    ),
]


@pytest.fixture(scope="module")
def words() -> SpacyWords:
    return SpacyWords()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This movie is GREAT!!! :)", "xxmaj this movie is xxup great xxrep 3 ! :)"),
        ("sooo very very very bad, I'd say", "s xxrep 3 o xxwrep 3 very bad , xxmaj i 'd say"),
        ("a/b and #c, isn't it?", "a / b and # c , is n't it ?"),
        ('He said: "NO WAY!" to U.S.A.', 'xxmaj he said : " no xxup way ! " to xxup u.s.a .'),
        ("", ""),
        ("  \n ", ""),
    ],
)
def test_rules_and_words(words: SpacyWords, text: str, expected: str) -> None:
    assert words(text) == words.of_whole_text(text) == expected.split()


def test_white_space_is_kept_as_words_and_its_blanks_shown(words: SpacyWords) -> None:
    assert words("a <br /><br />b") == ["a", "\n\n", "b"]
    assert words("a\n /b") == ["a", "\n\u2581", "/", "b"]


@pytest.mark.skipif(not RECORDED.exists(), reason="../shared holds no recorded tokens")
def test_rules_and_words_are_those_of_fastai(words: SpacyWords) -> None:
    for case in json.loads(RECORDED.read_text(encoding="utf-8"))["cases"]:
        assert "xxbos " + apply_rules(case["text"]) == case["after_rules"]
        assert ["xxbos", *words(case["text"])] == case["tokens"]
        assert ["xxbos", *words.of_whole_text(case["text"])] == case["tokens"]


def test_chunk_by_chunk_gives_the_words_of_the_whole_text(words: SpacyWords) -> None:
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(
            draw.choice(FRAGMENTS) + draw.choice(["", " ", " "]) for _ in range(draw.randint(1, 12))
        )
        assert words(text) == words.of_whole_text(text), text


@pytest.mark.parametrize(
    "text",
    [
        "foo:) )",  # the longer phrase `:))` across the blank keeps `:)` from being joined
        "333 3",  # the run leaves `3 3`, with the next word a repeated word
        "000so so sozzz",
        "no\nno no!",
    ],
)
def test_where_the_next_chunk_matters_it_is_heeded(words: SpacyWords, text: str) -> None:
    assert words(text) == words.of_whole_text(text)
    assert words(text) != [word for chunk in text.split() for word in words(chunk)]


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="../shared holds no data sets")
def test_reviews_come_out_the_same_either_way(words: SpacyWords) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    reviews = parquet.read_table(SHARED / "data" / "imdb" / "test.parquet").column("text").to_pylist()[:500]
    assert all(words(review) == words.of_whole_text(review) for review in reviews)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    words = SpacyWords()
    start = len(words._tokenizer.vocab.strings)
    monkeypatch.setattr(spacy_words, "STRINGS_REMEMBERED", start + 50)
    for number in range(40):
        assert words(f"w{number}, of v{number};") == [f"w{number}", ",", "of", f"v{number}", ";"]
    assert len(words._words_of_chunk) < 50
    assert len(words._tokenizer.vocab.strings) < start + 100


@pytest.mark.parametrize("unit", ["ab", "()", "Ab.", "/", "no ", "\n"])
def test_overlong_chunks_are_split_in_linear_time(words: SpacyWords, unit: str) -> None:
    text = unit * 3000
    assert words(text) == words.of_whole_text(text)
    if unit == "ab":
        assert "".join(words(text)) == text
        assert max(map(len, words(text))) == spacy_words.LONGEST_CHUNK


def test_a_rule_without_its_marker_is_left_out() -> None:
    words = SpacyWords(RULE_MARKERS - {"xxmaj", "xxrep"})
    assert words("Great GREAT!!!") == ["great", "xxup", "great", "!", "!", "!"]
    assert words("no no no") == ["xxwrep", "3", "no"]
