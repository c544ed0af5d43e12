"""The word tokenizer: fastai's vocabularies row by row, its markers, and what a text may not spell."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from nlptl.errors import ModelError
from nlptl.families.ulmfit.text_rules import SPECIAL_WORDS
from nlptl.families.ulmfit.word_tokenization import (
    UlmfitWordTokenizer,
    build_vocabulary,
    train_word_tokenizer,
)

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared"
WORDS = [*SPECIAL_WORDS, "the", "movie", "was", "great", ",", "not", "bad", "xxfake", "xxfake", "xxfake"]


@pytest.fixture(scope="module")
def tokenizer() -> UlmfitWordTokenizer:
    pytest.importorskip("spacy", reason="the word tokenizer needs spaCy")
    return UlmfitWordTokenizer(WORDS)


def test_ids_of_a_text(tokenizer: UlmfitWordTokenizer) -> None:
    encoded = tokenizer("The movie was GREAT, very", return_special_tokens_mask=True)
    tokens = ["xxbos", "xxmaj", "the", "movie", "was", "xxup", "great", ",", "xxunk"]
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == tokens
    assert encoded["attention_mask"] == [1] * 9
    assert encoded["special_tokens_mask"] == [1] + [0] * 8  # the markers of the rules are words of the text
    assert tokenizer.decode(encoded["input_ids"][:5]) == "xxbos xxmaj the movie was"
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id]


def test_every_row_counts_and_a_repeated_word_has_the_first(tokenizer: UlmfitWordTokenizer) -> None:
    assert tokenizer.vocab_size == len(tokenizer) == len(WORDS) == 19
    assert tokenizer.convert_tokens_to_ids("xxfake") == 16
    assert tokenizer.convert_ids_to_tokens([16, 17, 18]) == ["xxfake"] * 3
    assert tokenizer.convert_ids_to_tokens([10_000]) == ["xxunk"]


def test_alone_and_in_a_batch_the_ids_are_the_same(tokenizer: UlmfitWordTokenizer) -> None:
    texts = ["the movie", "", "\ud800\x00👍", "Not bad, not bad", "x" * 5000]
    batch = tokenizer(texts, padding=True, return_special_tokens_mask=True, return_tensors="pt")
    names = ("input_ids", "attention_mask", "special_tokens_mask")
    for text, row, mask, special in zip(texts, *(batch[name].tolist() for name in names), strict=True):
        ids = tokenizer(text)["input_ids"]
        padding = len(row) - len(ids)
        assert row == ids + [tokenizer.pad_token_id] * padding
        assert mask == [1] * len(ids) + [0] * padding
        assert special == [1] + [0] * (len(ids) - 1) + [1] * padding
    assert tokenizer(texts)["input_ids"] == [tokenizer(text)["input_ids"] for text in texts]
    assert dict(tokenizer([])) == {"input_ids": [], "attention_mask": []}
    assert tokenizer("the movie", return_tensors="pt")["input_ids"].shape == (1, 3)


@pytest.mark.parametrize("name", ["xxbos", "xxpad", "xxeos", "xxfld"])
def test_a_text_cannot_spell_a_structural_token(tokenizer: UlmfitWordTokenizer, name: str) -> None:
    unknown, bos = tokenizer.unk_token_id, tokenizer.bos_token_id
    assert tokenizer(f"{name} the")["input_ids"] == [bos, unknown, tokenizer.convert_tokens_to_ids("the")]
    assert tokenizer([name], is_split_into_words=True)["input_ids"] == [bos, unknown]
    assert tokenizer.tokenize(name) == ["xxunk"]
    assert tokenizer.convert_tokens_to_ids(name) != unknown


def test_given_words_are_one_token_each(tokenizer: UlmfitWordTokenizer) -> None:
    words = ["The", "MOVIE", "was,great", "not", "xxmaj"]
    encoded = tokenizer(words, is_split_into_words=True)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == [
        *("xxbos", "the", "movie", "xxunk", "not", "xxmaj"),
    ]
    batch = tokenizer([words, []], is_split_into_words=True, padding=True)
    assert batch["input_ids"][0] == encoded["input_ids"]
    assert batch["attention_mask"][1] == [1, 0, 0, 0, 0, 0]
    assert tokenizer([], is_split_into_words=True)["input_ids"] == [tokenizer.bos_token_id]


def test_a_pair_is_parted_by_the_field_marker(tokenizer: UlmfitWordTokenizer) -> None:
    pair = tokenizer("the movie", "bad", return_special_tokens_mask=True)
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["xxbos", "the", "movie", "xxfld", "bad"]
    assert pair["special_tokens_mask"] == [1, 0, 0, 1, 0]
    assert tokenizer(["the movie"], ["bad"])["input_ids"] == [pair["input_ids"]]
    assert tokenizer("the", "")["input_ids"] == tokenizer(["the"], [""])["input_ids"][0]
    assert tokenizer([("the movie", "bad"), ("the", "")])["input_ids"][0] == pair["input_ids"]
    words = tokenizer([(["the", "movie"], ["bad"])], is_split_into_words=True)
    assert words["input_ids"] == [pair["input_ids"]]


@pytest.mark.parametrize(
    ("text", "text_pair", "words", "message"),
    [
        (["the"], ["a", "b"], False, "not batches of the same size"),
        (["the"], "a", False, "not batches of the same size"),
        (["the", None], None, False, "a string, not NoneType"),
        ([["the"]], None, False, "a string, not list"),
        ("the movie", None, True, "a list of words, not str"),
    ],
)
def test_what_is_no_text_is_refused(
    tokenizer: UlmfitWordTokenizer, text: object, text_pair: object, words: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(text, text_pair, is_split_into_words=words)


def test_truncation_only_when_asked_for(tokenizer: UlmfitWordTokenizer) -> None:
    text = "the movie was " * 2000
    assert len(tokenizer(text)["input_ids"]) == 6001
    cut = tokenizer(text, truncation=True, max_length=4)
    assert tokenizer.convert_ids_to_tokens(cut["input_ids"]) == ["xxbos", "the", "movie", "was"]


def test_saved_and_loaded_it_is_the_same(tokenizer: UlmfitWordTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == WORDS
    loaded = UlmfitWordTokenizer.from_pretrained(tmp_path)
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert (len(loaded), loaded.get_vocab()) == (len(tokenizer), tokenizer.get_vocab())
    for text in ("The movie was GREAT", "xxpad xxbos", ""):
        assert loaded(text, "bad").data == tokenizer(text, "bad").data


def test_the_vocabulary_of_the_paper_has_old_names_and_no_begin_marker() -> None:
    pytest.importorskip("spacy")
    old = UlmfitWordTokenizer(["_unk_", "_pad_", "the", "movie", "!"])
    assert (old.unk_token, old.pad_token, old.bos_token, old.sep_token) == ("_unk_", "_pad_", None, None)
    # It lacks the markers of the rules, which then are not applied: no unknown words in their place.
    batch = old(["The movie!!!", "xxpad", ""], padding=True, return_special_tokens_mask=True)
    assert batch["input_ids"] == [[2, 3, 4, 4, 4], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert batch["special_tokens_mask"] == [[0] * 5, [0, 1, 1, 1, 1], [1] * 5]
    assert old(["_pad_"], is_split_into_words=True)["input_ids"] == [0]
    assert old("the", "movie")["input_ids"] == [2, 3]


def test_special_words_may_stand_anywhere() -> None:
    pytest.importorskip("spacy")
    moved = UlmfitWordTokenizer(["the", "xxbos", "movie", "xxpad", "xxunk"])
    assert moved(["the movie", "a"], padding=True)["input_ids"] == [[1, 0, 2], [1, 4, 3]]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"the": 0}, "the vocabulary is not a list of words, in vocab"),
        (["xxunk", 3], "the vocabulary is not a list of words, in vocab"),
        (
            ["the", "movie"],
            "the vocabulary has no word for unknown words, in vocab; it must have xxunk or _unk_",
        ),
    ],
)
def test_a_vocabulary_that_cannot_be_one_is_refused(vocabulary: object, message: str) -> None:
    pytest.importorskip("spacy")
    with pytest.raises(ModelError, match=message):
        UlmfitWordTokenizer(vocabulary)  # type: ignore[arg-type]


def test_a_damaged_file_is_named(tokenizer: UlmfitWordTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text("[", encoding="utf-8")
    with pytest.raises(ModelError, match=r"the vocabulary cannot be read .*vocab\.json"):
        UlmfitWordTokenizer.from_pretrained(tmp_path)


def test_without_spacy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ModelError, match=r'pip install "nlptl\[fastai-tokens\]"'):
        UlmfitWordTokenizer(WORDS)


def test_copies_go_without_what_was_remembered(tokenizer: UlmfitWordTokenizer) -> None:
    tokenizer("the movie")
    state = pickle.dumps(tokenizer)
    assert len(state) < 10_000
    assert pickle.loads(state)("the movie").data == tokenizer("the movie").data  # our own


def test_training_counts_words_and_orders_them() -> None:
    pytest.importorskip("spacy")
    texts = ["The movie was bad.", "the MOVIE was good", "xxpad xxpad the end"]
    tokenizer = train_word_tokenizer(iter(texts), min_frequency=2)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [
        *SPECIAL_WORDS,
        *("the", "movie", "was"),
        *["xxfake"] * 4,
    ]


def test_vocabulary_by_count_then_first_appearance() -> None:
    counts = {"b": 3, "a": 3, "xxmaj": 9, "c": 4, "d": 2, "e": 1}
    assert build_vocabulary(counts) == [*SPECIAL_WORDS, "c", "b", "a", *["xxfake"] * 4]
    assert build_vocabulary(counts, vocab_size=10) == [*SPECIAL_WORDS, "c", *["xxfake"] * 6]
    assert build_vocabulary(counts, vocab_size=16, min_frequency=1)[9:] == [
        "c",
        "b",
        "a",
        "d",
        "e",
        "xxfake",
        "xxfake",
    ]


@pytest.mark.skipif(not (SHARED / "parity").exists(), reason="../shared holds no recorded vocabulary")
def test_vocabulary_is_that_of_fastai() -> None:
    recorded = json.loads((SHARED / "parity" / "ulmfit" / "tokens.json").read_text(encoding="utf-8"))[
        "make_vocab"
    ]
    counts, least = recorded["counts"], recorded["min_freq"]
    assert build_vocabulary(counts, 60000, least) == recorded["max_vocab_60000"]
    assert build_vocabulary(counts, recorded["max_vocab"], least) == recorded["with_max_vocab"]
