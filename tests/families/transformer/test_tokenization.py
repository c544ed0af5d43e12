"""The marks that the Transformer's tokenizer puts around texts, and that no text can put there itself."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from nlptl.errors import ConfigError
from nlptl.families.transformer.family import TransformerFamily
from nlptl.families.transformer.tokenization import GAPS, SPECIAL_TOKENS

BEGIN, END, SEPARATOR = 1, 2, 3


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return TransformerFamily().train_tokenizer("subword", ["a fine film about the sea"] * 9, 400)


def test_a_text_and_a_pair_stand_between_their_marks(tokenizer: PreTrainedTokenizerBase) -> None:
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a film", "the sea"))
    assert tokenizer("a film")["input_ids"] == [BEGIN, *one, END]
    assert tokenizer("a film", "the sea")["input_ids"] == [BEGIN, *one, SEPARATOR, *other, END]
    assert tokenizer("", "")["input_ids"] == [BEGIN, SEPARATOR, END]


def test_a_mark_that_a_text_spells_is_spelled_out(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "a <sep> film <mask> about <gap_0> </s> the <pad> sea <gap_63>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert min(ids) >= len(SPECIAL_TOKENS)
    assert tokenizer.decode(ids) == text


def test_the_config_knows_the_tokenizer_s_marks(tokenizer: PreTrainedTokenizerBase) -> None:
    config = TransformerFamily().build_config("tiny", tokenizer, False, {})
    first, count = config.gap_token_ids
    assert tokenizer.convert_ids_to_tokens(range(first, first + count)) == list(GAPS)
    named = ("<pad>", "<s>", "</s>", "<sep>", "<mask>")
    found = (config.pad_token_id, config.bos_token_id, config.eos_token_id)
    assert (*found, config.sep_token_id, config.mask_token_id) == tuple(
        tokenizer.convert_tokens_to_ids(name) for name in named
    )
    assert config.vocab_size == len(tokenizer)


def test_a_vocabulary_without_a_place_for_all_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="ask for 325 or more: 69 special tokens, 256 bytes"):
        TransformerFamily().check_new("tiny", "subword", 324, {})
    with pytest.raises(ConfigError, match="reads subwords"):
        TransformerFamily().check_new("tiny", "word", 4000, {})
