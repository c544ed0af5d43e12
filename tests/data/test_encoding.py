"""Rows to token ids: the tokenizer's own, with what a length limit cut off counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

import nlptl
from nlptl.data import encoding
from nlptl.data.encoding import encode_rows
from nlptl.errors import ConfigError


@pytest.fixture(scope="module")
def tokenizer(language_model_folder: Path) -> Any:
    nlptl.register_families()
    return AutoTokenizer.from_pretrained(language_model_folder / "model")


TEXTS = ["the film was awful.", "", "dull", "the music shines brightly. her acting was wonderful."]


def test_a_row_has_the_ids_that_the_tokenizer_gives_its_text_alone(tokenizer: Any) -> None:
    encoded = encode_rows([{"text": text} for text in TEXTS], tokenizer, None)
    for text, found in zip(TEXTS, encoded.encodings, strict=True):
        assert found["input_ids"].tolist() == tokenizer(text)["input_ids"]
        assert found["attention_mask"].tolist() == [1] * len(found["input_ids"])
    assert encoded.tokens == sum(len(found["input_ids"]) for found in encoded.encodings)
    assert encoded.note("texts") is None


def test_pairs_and_missing_texts(tokenizer: Any) -> None:
    rows = [{"text": "the film", "text_pair": "is great"}, {"text": None, "text_pair": None}]
    first, second = encode_rows(rows, tokenizer, None).encodings
    assert first["input_ids"].tolist() == tokenizer("the film", "is great")["input_ids"]
    assert second["input_ids"].tolist() == tokenizer([""], [""])["input_ids"][0]


def test_lists_of_words_may_be_empty(tokenizer: Any) -> None:
    rows: list[dict[str, Any]] = [{"text": ["the", "film"]}, {"text": []}]
    words, nothing = encode_rows(rows, tokenizer, None, is_split_into_words=True).encodings
    assert len(words["input_ids"]) > len(nothing["input_ids"])
    assert nothing["input_ids"].tolist() == [tokenizer.bos_token_id]


def test_what_a_limit_cuts_is_counted_and_said(tokenizer: Any) -> None:
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    encoded = encode_rows([{"text": text} for text in TEXTS], tokenizer, 4)
    assert [len(found["input_ids"]) for found in encoded.encodings] == [min(4, length) for length in whole]
    cut = [length - 4 for length in whole if length > 4]
    assert (encoded.tokens, encoded.truncated_rows) == (sum(whole), len(cut))
    assert encoded.truncated_tokens == sum(cut)
    said = encoded.note("texts")
    assert said is not None
    assert f"{len(cut)} of 4 texts were cut by --max-length, which lost {sum(cut)} tokens" in said


def test_rows_are_taken_a_batch_at_a_time_and_kept_in_order(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "ROWS_AT_A_TIME", 3)
    rows = [{"text": f"film {number}"} for number in range(8)]
    asked: list[int] = []

    def watched(texts: list[str], *rest: Any, **options: Any) -> Any:
        asked.append(len(texts))
        return tokenizer(texts, *rest, **options)

    def stream() -> Iterator[dict[str, str]]:
        yield from rows

    encoded = encode_rows(stream(), watched, None)
    assert asked == [3, 3, 2]
    for row, found in zip(rows, encoded.encodings, strict=True):
        np.testing.assert_array_equal(found["input_ids"], tokenizer(row["text"])["input_ids"])


def test_no_row_is_no_encoding(tokenizer: Any) -> None:
    encoded = encode_rows([], tokenizer, 4)
    assert (encoded.encodings, encoded.tokens, encoded.note("texts")) == ([], 0, None)


def test_a_limit_below_the_marks_is_refused_rather_than_passed_over(tokenizer: Any) -> None:
    """Which the tokenizer would do without a word: a pair has two marks here, a text one."""
    pair = [{"text": "the film is dull", "text_pair": "is it"}]
    with pytest.raises(ConfigError, match="a limit of 1 leaves no room for the 2 marks around a text"):
        encode_rows(pair, tokenizer, 1)
    assert len(encode_rows(pair, tokenizer, 2).encodings[0]["input_ids"]) == 2
    assert len(encode_rows([{"text": "the film"}], tokenizer, 1).encodings[0]["input_ids"]) == 1
