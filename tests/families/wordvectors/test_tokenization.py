"""The tokenizer: rows of words, case, pairs, and what a text may not spell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from nlptl.errors import DataError, ModelError
from nlptl.families.wordvectors.configuration import PAD, SEP, SPECIAL_TOKENS, UNK, WordVectorsConfig
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer, train_tokenizer

WORDS = [*SPECIAL_TOKENS, "the", "film", "The", "US", "us", "n't", "do", ",", "a b", "film"]
TOKENIZER = WordVectorsTokenizer(WORDS)


@pytest.fixture
def loaded(tmp_path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer from a model folder."""
    WordVectorsConfig(vocab_size=len(WORDS)).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tmp_path)
    return found


def test_ids_of_a_text() -> None:
    encoded = TOKENIZER("The film, don't plotz", return_special_tokens_mask=True)
    assert encoded["input_ids"] == [5, 4, 10, 9, 8, UNK]
    assert encoded["attention_mask"] == [1] * 6
    assert encoded["special_tokens_mask"] == [0] * 6
    assert TOKENIZER.tokenize("The film plotz") == ["The", "film", "<unk>"]


def test_a_word_is_looked_up_as_it_is_and_then_in_lower_case_never_the_other_way() -> None:
    assert TOKENIZER("US us Us FILM")["input_ids"] == [6, 7, 7, 4]
    assert WordVectorsTokenizer([*SPECIAL_TOKENS, "The"])("the")["input_ids"] == [UNK]
    assert WordVectorsTokenizer(WORDS, lowercase=True)("The US")["input_ids"] == [3, 7]
    assert WordVectorsTokenizer(WORDS, lowercase=True)(["The", "US"], is_split_into_words=True)[
        "input_ids"
    ] == [3, 7]


def test_every_row_counts_and_a_repeated_word_has_the_first() -> None:
    assert TOKENIZER.vocab_size == len(TOKENIZER) == len(WORDS)
    assert TOKENIZER.convert_tokens_to_ids("film") == 4
    assert TOKENIZER.convert_ids_to_tokens([4, 12, 99]) == ["film", "film", "<unk>"]
    assert (TOKENIZER.pad_token_id, TOKENIZER.unk_token_id, TOKENIZER.sep_token_id) == (PAD, UNK, SEP)


def test_an_empty_text_has_no_tokens() -> None:
    assert dict(TOKENIZER("")) == {"input_ids": [], "attention_mask": []}
    assert TOKENIZER(["", "the"])["input_ids"] == [[], [3]]
    alone = TOKENIZER("", return_tensors="pt")  # a tensor has a place at least, which holds no token
    assert (alone["input_ids"].tolist(), alone["attention_mask"].tolist()) == ([[PAD]], [[0]])


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_a_text_cannot_spell_a_special_token(name: str) -> None:
    assert not {PAD, SEP} & set(TOKENIZER(f"the {name} {name.upper()} film")["input_ids"])
    assert TOKENIZER([name, name.upper()], is_split_into_words=True)["input_ids"] == [UNK, UNK]


def test_given_words_are_one_token_each() -> None:
    assert TOKENIZER(["The", "a b", "don't"], is_split_into_words=True)["input_ids"] == [5, 11, UNK]
    batch = TOKENIZER([["film"], []], is_split_into_words=True, padding=True)
    assert batch["input_ids"] == [[4], [PAD]]
    assert batch["attention_mask"] == [[1], [0]]


def test_a_pair_is_parted_by_a_mark() -> None:
    pair = TOKENIZER("the film", "us", return_special_tokens_mask=True)
    assert pair["input_ids"] == [3, 4, SEP, 7]
    assert pair["special_tokens_mask"] == [0, 0, 1, 0]
    assert TOKENIZER(["the film"], ["us"])["input_ids"] == [pair["input_ids"]]
    assert TOKENIZER([("the film", "us")])["input_ids"] == [pair["input_ids"]]
    assert TOKENIZER("the", "")["input_ids"] == [3, SEP]
    words = TOKENIZER([(["the", "film"], ["us"])], is_split_into_words=True)
    assert words["input_ids"] == [pair["input_ids"]]


@pytest.mark.parametrize(
    ("text", "text_pair", "words", "message"),
    [
        (["the"], ["a", "b"], False, "not batches of the same size"),
        (["the", None], None, False, "a string, not NoneType"),
        ([["the"]], None, False, "a string, not list"),
        ("the film", None, True, "a list of words, not str"),
    ],
)
def test_what_is_no_text_is_refused(text: object, text_pair: object, words: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TOKENIZER(text, text_pair, is_split_into_words=words)


def test_truncation_only_when_asked_for() -> None:
    assert len(TOKENIZER("the film " * 5000)["input_ids"]) == 10_000
    assert TOKENIZER("the film us", truncation=True, max_length=2)["input_ids"] == [3, 4]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(texts=st.lists(st.text(st.characters(exclude_categories=())), min_size=2, max_size=4))
def test_any_text_alone_in_a_batch_and_as_part_of_a_pair(texts: list[str]) -> None:
    alone = [TOKENIZER(text)["input_ids"] for text in texts]
    batch = TOKENIZER(texts, padding=True, return_special_tokens_mask=True)
    names = ("input_ids", "attention_mask", "special_tokens_mask")
    for ids, row, mask, special in zip(alone, *(batch[name] for name in names), strict=True):
        padding = len(row) - len(ids)
        assert row == ids + [PAD] * padding
        assert mask == [1] * len(ids) + [0] * padding
        assert special == [0] * len(ids) + [1] * padding
        assert not {PAD, SEP} & set(ids)
    assert TOKENIZER(texts[0], texts[1])["input_ids"] == [*alone[0], SEP, *alone[1]]


def test_saved_and_loaded_it_is_the_same(loaded: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == WORDS
    assert isinstance(loaded, WordVectorsTokenizer)
    assert (len(loaded), loaded.get_vocab()) == (len(TOKENIZER), TOKENIZER.get_vocab())
    assert loaded("The US film", "").data == TOKENIZER("The US film", "").data


def test_the_options_and_any_word_survive_saving(tmp_path: Path) -> None:
    words = [*SPECIAL_TOKENS, "a\nb", "\u2028", '"', "\ud800", "", "日本", "x y"]
    WordVectorsTokenizer(words, lowercase=True).save_pretrained(tmp_path)
    loaded = WordVectorsTokenizer.from_pretrained(tmp_path)
    assert loaded.lowercase
    assert loaded.convert_ids_to_tokens(range(len(words))) == words
    assert loaded(["\ud800", "日本", "X Y"], is_split_into_words=True)["input_ids"] == [6, 8, 9]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"the": 0}, "not a list of words, in vocab"),
        ([*SPECIAL_TOKENS, 3], "not a list of words, in vocab"),
        ([], "not a list of words"),
        (["the", *SPECIAL_TOKENS], "does not begin with <pad>, <unk>, <sep>"),
    ],
)
def test_a_vocabulary_that_cannot_be_one_is_refused(vocabulary: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        WordVectorsTokenizer(vocabulary)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe[", b"{}"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"the vocabulary .*vocab\.json"):
        WordVectorsTokenizer.from_pretrained(tmp_path)


def test_training_counts_words_and_orders_them() -> None:
    texts = ["The film, the FILM, the us", "b b b a a a", "the <pad> film once"]
    trained = train_tokenizer(iter(texts), vocab_size=100)
    assert trained.lowercase
    words = trained.convert_ids_to_tokens(range(len(trained)))
    assert words == [*SPECIAL_TOKENS, "the", "film", "b", "a"]
    assert len(train_tokenizer(iter(texts), vocab_size=5)) == 5


def test_training_on_too_little_text_says_so() -> None:
    with pytest.raises(DataError, match="no word occurs 3 times"):
        train_tokenizer(["one two", "two one"], vocab_size=100)
