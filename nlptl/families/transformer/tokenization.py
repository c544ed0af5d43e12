"""The tokenizer of the Transformer: byte-level BPE with marks around a text, between a pair, and in place of noise."""

from __future__ import annotations

from collections.abc import Iterable

from nlptl.families.subword_tokenizer import (
    SubwordTokenizer,
    train_byte_level_bpe,
)

PAD, BEGIN, END, SEPARATOR, MASK = "<pad>", "<s>", "</s>", "<sep>", "<mask>"
GAPS = tuple(f"<gap_{number}>" for number in range(64))
SPECIAL_TOKENS = (PAD, BEGIN, END, SEPARATOR, MASK, *GAPS)


class TransformerTokenizer(SubwordTokenizer):
    """Text becomes `<s> A </s>`, a pair `<s> A <sep> B </s>`.

    Make one with `train_transformer_tokenizer` or `from_pretrained`.
    """


def train_transformer_tokenizer(texts: Iterable[str], vocab_size: int) -> TransformerTokenizer:
    """Learn a byte-level BPE from `texts`; see `train_byte_level_bpe`.

    Raises:
        ConfigError: `vocab_size` has no place for the special tokens and all bytes.
    """
    return train_byte_level_bpe(
        TransformerTokenizer,
        texts,
        vocab_size,
        SPECIAL_TOKENS,
        single=f"{BEGIN} $A {END}",
        pair=f"{BEGIN} $A {SEPARATOR} $B:1 {END}:1",
        roles={
            "pad_token": PAD,
            "bos_token": BEGIN,
            "eos_token": END,
            "sep_token": SEPARATOR,
            "mask_token": MASK,
        },
    )
