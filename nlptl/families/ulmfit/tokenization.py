"""The tokenizers of the ULMFiT family: subwords, for new models (here), and whole words, for released ones.

`UlmfitTokenizer` is a byte-level BPE: any text has a token, so nothing is ever unknown, and the small vocabulary makes
the softmax, which rules the cost of language-model pretraining, cheap. It runs in Rust from a single `tokenizer.json`.
`UlmfitWordTokenizer` (see `word_tokenization`) reproduces the word vocabulary of fastai's checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex

from nlptl.families.subword_tokenizer import (
    BYTES,
    SubwordTokenizer,
    check_subword_vocabulary,
    train_byte_level_bpe,
)
from nlptl.families.ulmfit.text_rules import BOS, EOS, FLD, PAD, UNK
from nlptl.families.ulmfit.word_tokenization import UlmfitWordTokenizer, train_word_tokenizer

__all__ = ["UlmfitTokenizer", "UlmfitWordTokenizer", "train_subword_tokenizer", "train_word_tokenizer"]

SPECIAL_TOKENS = (UNK, PAD, BOS, EOS, FLD)  # ids 0 to 4, the order of fastai's vocabularies
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + BYTES


class UlmfitTokenizer(SubwordTokenizer):
    """Byte-level BPE with ULMFiT's special tokens.

    Text becomes `xxbos A`, a pair `xxbos A xxfld B`. `<br />` becomes a line break, runs of blanks one blank, and
    letters lower case if it was trained so; `decode` gives this normalised text back. `special_tokens_mask` marks
    `xxbos`, `xxfld` and padding.

    Make one with `train_subword_tokenizer` or `from_pretrained`.
    """


def train_subword_tokenizer(
    texts: Iterable[str], vocab_size: int = 8000, lowercase: bool = True
) -> UlmfitTokenizer:
    """Learn a byte-level BPE from `texts`; see `train_byte_level_bpe`.

    Raises:
        ConfigError: `vocab_size` has no place for the special tokens and all bytes.
    """
    # The names are words of letters: a corpus which spells them out must not teach a merge across the end of "xx".
    names = "|".join(token.removeprefix("xx") for token in SPECIAL_TOKENS)
    return train_byte_level_bpe(
        UlmfitTokenizer,
        texts,
        vocab_size,
        SPECIAL_TOKENS,
        single=f"{BOS} $A",
        pair=f"{BOS} $A {FLD} $B:1",
        roles={
            "unk_token": UNK,
            "pad_token": PAD,
            "bos_token": BOS,
            "eos_token": EOS,
            "sep_token": FLD,
        },
        lowercase=lowercase,
        kept_apart=Regex(f"xx(?={names})"),
    )


def check_vocabulary_size(vocab_size: int) -> None:
    """A subword vocabulary must have places for the special tokens and all bytes.

    Raises:
        ConfigError: it has not.
    """
    check_subword_vocabulary(vocab_size, len(SPECIAL_TOKENS))
