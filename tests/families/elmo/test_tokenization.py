"""Words as characters: as the originals number them, the same alone and in any batch, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.errors import ModelError
from nlptl.families.elmo.characters import BOS, EOS, character_ids, mark_ids
from nlptl.families.elmo.tokenization import SPECIAL_WORDS, ElmoTokenizer, train_tokenizer

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity" / "elmo"


@pytest.fixture
def tokenizer() -> ElmoTokenizer:
    return ElmoTokenizer(SPECIAL_WORDS)


@pytest.mark.skipif(not PARITY.is_dir(), reason="the originals' numbers are not here")
def test_characters_are_numbered_as_the_originals_do() -> None:
    facts = json.loads((PARITY / "char_ids.json").read_text(encoding="utf-8"))
    for case in facts["words"]:
        assert character_ids(case["word"]).tolist() == case["char_ids"], case["word"]
    assert mark_ids(BOS).tolist() == facts["begin_sentence_token"]
    assert mark_ids(EOS).tolist() == facts["end_sentence_token"]


def test_a_text_becomes_a_sentence_and_a_pair_two(tokenizer: ElmoTokenizer) -> None:
    one = tokenizer("A film.", return_special_tokens_mask=True)
    assert one["input_ids"].shape == (5, 50)
    assert one["special_tokens_mask"] == [1, 0, 0, 0, 1]
    assert one["attention_mask"] == [1] * 5
    two = tokenizer("A film.", "It 's", return_special_tokens_mask=True)
    assert two["special_tokens_mask"] == [1, 0, 0, 0, 1, 1, 0, 0, 1]
    assert np.array_equal(two["input_ids"][:5], one["input_ids"])
    assert tokenizer("A film.", add_special_tokens=False)["input_ids"].shape == (3, 50)
    assert tokenizer("")["input_ids"].shape == (2, 50)


def test_words_that_are_given_stay_as_they_are(tokenizer: ElmoTokenizer) -> None:
    words = ["Don't", "<br", "a b", "", "</S>"]
    rows = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert np.array_equal(rows[1:-1], np.stack([character_ids(word) for word in words]))
    batch = tokenizer([words, ["x"]], is_split_into_words=True)["input_ids"]
    assert [len(rows) for rows in batch] == [7, 3]
    with pytest.raises(ValueError, match="list of words"):
        tokenizer([["a"], "b"], is_split_into_words=True)


def test_a_text_cannot_spell_a_boundary(tokenizer: ElmoTokenizer) -> None:
    rows = tokenizer("<S> </S>", return_special_tokens_mask=True)
    assert sum(rows["special_tokens_mask"]) == 2
    assert not any(np.array_equal(row, mark_ids(EOS)) for row in rows["input_ids"][:-1])


def test_padding_and_truncation(tokenizer: ElmoTokenizer) -> None:
    batch = tokenizer(["a b c d", "e"], padding=True, return_tensors="pt", return_special_tokens_mask=True)
    assert batch["input_ids"].shape == (2, 6, 50)
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert not batch["input_ids"][1, 3:].any()
    cut = tokenizer(["a b c d", "e"], truncation=True, max_length=4)
    assert [len(rows) for rows in cut["input_ids"]] == [4, 3]
    assert [len(mask) for mask in cut["attention_mask"]] == [4, 3]
    fixed = tokenizer("a", padding="max_length", max_length=9, return_tensors="pt")
    assert fixed["input_ids"].shape == (1, 9, 50)


def test_the_vocabulary_is_the_most_frequent_words_in_lower_case() -> None:
    tokenizer = train_tokenizer(["The film, the plot", "the Film", "a plot once"], vocab_size=7)
    assert list(tokenizer.get_vocab()) == [*SPECIAL_WORDS, "the", "film", "plot"]
    assert len(tokenizer) == tokenizer.vocab_size == 7
    assert tokenizer.word_ids(["the", "once", "<S>"]) == [4, None, None]
    assert np.array_equal(tokenizer("THE FILM")["input_ids"], tokenizer("the film")["input_ids"])


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["zebra zebra apple apple apple Straße straße"], vocab_size=99)
    tokenizer.save_pretrained(tmp_path)
    loaded = ElmoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.lowercase
    assert len(loaded) == len(tokenizer)
    assert not ElmoTokenizer(SPECIAL_WORDS).lowercase


@pytest.mark.parametrize("content", ["[1, 2]", "{}", "[]", '["a", "b"]', "not json"])
def test_a_damaged_vocabulary_is_refused(content: str, tmp_path: Path) -> None:
    ElmoTokenizer(SPECIAL_WORDS).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab\.json"):
        ElmoTokenizer.from_pretrained(tmp_path)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.text(max_size=70), min_size=1, max_size=4))
def test_any_text_alone_and_in_a_batch(texts: list[str]) -> None:
    tokenizer = ElmoTokenizer(SPECIAL_WORDS, lowercase=True)
    together = tokenizer(texts)["input_ids"]
    for text, rows in zip(texts, together, strict=True):
        assert np.array_equal(tokenizer(text)["input_ids"], rows)
        assert rows.min() >= 1
        assert rows.max() <= 261
