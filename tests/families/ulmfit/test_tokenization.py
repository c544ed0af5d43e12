"""The subword tokenizer: no text is unknown, none can spell a special token, and what is saved is what is loaded."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nlptl.errors import ConfigError
from nlptl.families.ulmfit.tokenization import (
    SMALLEST_VOCABULARY,
    SPECIAL_TOKENS,
    UlmfitTokenizer,
    train_subword_tokenizer,
)

TEXTS = [
    "The movie was great, the actors were great and the plot was not bad at all.",
    "I did not like the movie: the plot was bad, the actors were worse.<br /><br />Never again!",
    "xxbos xxpad xxfld " * 20 + "xxbosom",  # a corpus that spells special tokens out
] * 5
NASTY = [
    "",
    " ",
    "\x00",
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    "👩‍👩‍👧",
    "e\u0301",
    "ﬁ İ ß Σ",
    "\u200b",
    "<br />",
    "\r\n\t",
    "中文",
]


@pytest.fixture(scope="module")
def tokenizer() -> UlmfitTokenizer:
    return train_subword_tokenizer(TEXTS, vocab_size=400)


def test_special_tokens_have_the_first_ids_and_every_byte_has_one(tokenizer: UlmfitTokenizer) -> None:
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert (tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert SMALLEST_VOCABULARY < len(tokenizer) <= 400
    assert tokenizer.vocab_size == len(tokenizer) == max(tokenizer.get_vocab().values()) + 1


@pytest.mark.parametrize("text", NASTY)
def test_any_text_has_the_same_ids_alone_and_in_a_batch_and_none_is_special(
    tokenizer: UlmfitTokenizer, text: str
) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer([text, "a movie"])["input_ids"][0] == ids
    assert ids[0] == tokenizer.bos_token_id
    assert all(row >= len(SPECIAL_TOKENS) for row in ids[1:])


@pytest.mark.parametrize("text", ["", " ", "\n", "<br />"])
def test_an_empty_text_is_the_begin_marker_alone(tokenizer: UlmfitTokenizer, text: str) -> None:
    assert tokenizer(text)["input_ids"] == [tokenizer.bos_token_id]


def test_lone_surrogates_become_the_replacement_character_and_pairs_their_character(
    tokenizer: UlmfitTokenizer,
) -> None:
    def round_trip(text: str) -> str:
        return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)

    assert round_trip("a\ud800b") == "a\ufffdb"
    assert round_trip("\ud83d\ude00") == "😀"


@given(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), max_size=40))
@settings(max_examples=100, deadline=None)
def test_decoding_gives_the_normalised_text_back(text: str) -> None:
    tokenizer = _cased()
    decoded = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    assert decoded == unicodedata.normalize("NFC", text)


def _cased(cache: list[UlmfitTokenizer] = []) -> UlmfitTokenizer:  # noqa: B006 (trained once)
    if not cache:
        cache.append(train_subword_tokenizer(TEXTS, vocab_size=300, lowercase=False))
    return cache[0]


def test_line_breaks_blanks_and_case_are_normalised(tokenizer: UlmfitTokenizer) -> None:
    ids = tokenizer("  The <BR/>movie\t\u00a0 WAS<br /><br />great\n")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the \n movie was \n great"
    assert _cased().decode(_cased()("The movie")["input_ids"], skip_special_tokens=True) == "The movie"


def test_a_word_has_one_spelling_wherever_it_stands(tokenizer: UlmfitTokenizer) -> None:
    first, *_ = tokenizer("movie great")["input_ids"][1:]
    assert tokenizer("great movie")["input_ids"][-1] == first
    assert tokenizer("great<br />movie")["input_ids"][-1] == first


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_a_text_cannot_spell_a_special_token(tokenizer: UlmfitTokenizer, name: str) -> None:
    # The corpus of this tokenizer is full of them, so that a merge into the whole name would have been learned.
    for text in (name, f"a {name} b", f"{name}{name}", name.upper(), f"a{name}"):
        for ids in (tokenizer(text)["input_ids"], tokenizer([text])["input_ids"][0]):
            assert all(row >= len(SPECIAL_TOKENS) for row in ids[1:])
    assert tokenizer(name, split_special_tokens=False)["input_ids"] == tokenizer(name)["input_ids"]
    assert tokenizer.decode(tokenizer(name)["input_ids"], skip_special_tokens=True) == name


def test_a_pair_is_parted_by_the_field_marker(tokenizer: UlmfitTokenizer) -> None:
    bos, field = tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("xxfld")
    first, second = tokenizer("the movie")["input_ids"][1:], tokenizer("the plot")["input_ids"][1:]
    pair = tokenizer("the movie", "the plot", return_special_tokens_mask=True)
    assert pair["input_ids"] == [bos, *first, field, *second]
    assert pair["special_tokens_mask"] == [1, *[0] * len(first), 1, *[0] * len(second)]
    assert tokenizer("the movie", "")["input_ids"] == tokenizer(["the movie"], [""])["input_ids"][0]
    assert tokenizer("the movie", "")["input_ids"][-1] == field


def test_padding_is_at_the_right_and_masked(tokenizer: UlmfitTokenizer) -> None:
    batch = tokenizer(["the movie was great", ""], padding=True, return_special_tokens_mask=True)
    length = len(batch["input_ids"][0])
    assert batch["input_ids"][1] == [2] + [1] * (length - 1)
    assert batch["attention_mask"][1] == [1] + [0] * (length - 1)
    assert batch["special_tokens_mask"] == [[1] + [0] * (length - 1), [1] * length]
    assert set(batch) == {"input_ids", "attention_mask", "special_tokens_mask"}


def test_words_given_have_the_ids_of_the_text(tokenizer: UlmfitTokenizer) -> None:
    text = "The movie was great, not bad"
    assert tokenizer(text.split(), is_split_into_words=True)["input_ids"] == tokenizer(text)["input_ids"]
    batch = tokenizer([text.split(), []], is_split_into_words=True)["input_ids"]
    assert batch == [tokenizer(text)["input_ids"], [2]]


def test_no_texts_give_no_rows(tokenizer: UlmfitTokenizer) -> None:
    assert dict(tokenizer([])) == {"input_ids": [], "attention_mask": []}


def test_long_texts_and_words_are_not_truncated(tokenizer: UlmfitTokenizer) -> None:
    word = "movieplot" * 20_000
    assert tokenizer.decode(tokenizer(word)["input_ids"], skip_special_tokens=True) == word


def test_saved_and_loaded_it_is_the_same(tokenizer: UlmfitTokenizer, tmp_path: Path) -> None:
    tokenizer(TEXTS[:2], padding=True, truncation=True, max_length=4)  # leaves its mark on the backend
    tokenizer.save_pretrained(tmp_path / "a")
    loaded = UlmfitTokenizer.from_pretrained(tmp_path / "a")
    for text in [*TEXTS, *NASTY, *SPECIAL_TOKENS]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert (len(loaded), loaded.padding_side, loaded.model_max_length) == (
        len(tokenizer),
        "right",
        tokenizer.model_max_length,
    )
    loaded.save_pretrained(tmp_path / "b")
    saved = [(tmp_path / folder / "tokenizer.json").read_bytes() for folder in "ab"]
    assert saved[0] == saved[1]
    assert Tokenizer.from_str(saved[0].decode()).truncation is None
    assert not list((tmp_path / "a").glob("*.tmp"))


def test_training_is_deterministic_and_takes_an_iterator() -> None:
    first, second = (
        train_subword_tokenizer(iter(TEXTS), vocab_size=350).backend_tokenizer.to_str() for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["\ud800\x00"], ["=" * 10_000, "ab" * 10_000]])
def test_training_on_next_to_nothing_gives_the_bytes(texts: list[str]) -> None:
    tokenizer = train_subword_tokenizer(texts, vocab_size=1000)
    assert len(tokenizer) >= SMALLEST_VOCABULARY
    assert tokenizer.decode(tokenizer("any text")["input_ids"], skip_special_tokens=True) == "any text"


def test_a_vocabulary_too_small_for_the_bytes_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="a subword vocabulary of 100 is too small, in vocab_size; ask for 261"
    ):
        train_subword_tokenizer(TEXTS, vocab_size=100)
