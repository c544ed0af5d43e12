"""How raw text is cut into words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.families import words as words_module
from nlptl.families.words import split_words, word_counts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't, can't and won’t.", ["I", "do", "n't", ",", "ca", "n't", "and", "wo", "n’t", "."]),
        ("it's what we'll and they've said", ["it", "'s", "what", "we", "'ll", "and", "they", "'ve", "said"]),
        ("rock'n'roll at five o'clock", ["rock'n'roll", "at", "five", "o'clock"]),
        ("a well-made, 85-minute film", ["a", "well-made", ",", "85-minute", "film"]),
        ("1,000.50 dollars in the 1980s", ["1,000.50", "dollars", "in", "the", "1980s"]),
        ("Mr. Smith of the U.S. left...", ["Mr.", "Smith", "of", "the", "U.S.", "left", "..."]),
        ("what?! -- no!!", ["what", "?", "!", "--", "no", "!!"]),
        ("one<br /><br />two", ["one", "two"]),
        ("the dogs' bowls, 'quoted'", ["the", "dogs", "'", "bowls", ",", "'", "quoted", "'"]),
        ("naïve café 日本語", ["naïve", "café", "日本語"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_words_are_cut_as_in_the_treebank(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_text_that_is_cut_already_stays_so_but_for_its_escapes() -> None:
    text = "a ca n't , well-made -- `` film '' -lrb- it 's 90 % -rrb- and\\/or ... u.s. ."
    words = ["a", "ca", "n't", ",", "well-made", "--", '"', "film", '"', "(", "it", "'s", "90", "%", ")"]
    assert split_words(text) == [*words, "and", "/", "or", "...", "u.s.", "."]


def test_letters_are_folded_where_that_is_asked_for() -> None:
    assert split_words("DON'T Go", lowercase=True) == ["do", "n't", "go"]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text(max_size=60))
def test_nothing_but_white_space_and_markup_is_lost(text: str) -> None:
    words = split_words(text)
    assert not any(character.isspace() for word in words for character in word)
    if not any(sign in text for sign in ("<", "`", "''", "\\", "-l", "-r", "-L", "-R")):
        assert "".join(words) == "".join(text.split())


def test_counting_is_bounded_however_many_words_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log has a word of its own in every line; what is frequent is counted to the last."""
    monkeypatch.setattr(words_module, "MOST_COUNTED", 50)
    notes: list[str] = []
    counts = word_counts((["at", f"id-{number}", "at"] for number in range(1000)), notes.append)
    assert len(counts) <= 50
    assert counts["at"] == 2000
    assert len(notes) == 1
    assert "more than 50 different words" in notes[0]
    assert f"{1001 - len(counts):,} that had" in notes[0]
    assert list(word_counts([["b", "a", "b"]], notes.append)) == ["b", "a"]
    assert len(notes) == 1
