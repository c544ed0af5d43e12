"""The tokenizers of the ULMFiT family: subwords, for new models (here), and whole words, for released ones.

`UlmfitTokenizer` is a byte-level BPE: any text has a token, so nothing is ever unknown, and the small vocabulary makes
the softmax, which rules the cost of language-model pretraining, cheap. It runs in Rust from a single `tokenizer.json`.
`UlmfitWordTokenizer` (see `word_tokenization`) reproduces the word vocabulary of fastai's checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import BatchEncoding, PreTrainedTokenizerFast

from nlptl.errors import ConfigError
from nlptl.families.ulmfit.text_rules import BOS, EOS, FLD, PAD, UNK, without_surrogates
from nlptl.families.ulmfit.word_tokenization import UlmfitWordTokenizer, train_word_tokenizer

__all__ = ["UlmfitTokenizer", "UlmfitWordTokenizer", "train_subword_tokenizer", "train_word_tokenizer"]

SPECIAL_TOKENS = (UNK, PAD, BOS, EOS, FLD)  # ids 0 to 4, the order of fastai's vocabularies
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256  # every byte has a token
LONGEST_TOKEN = 32  # bytes; keeps rows of dashes and the like from taking places of the vocabulary
LONGEST_TRAINING_WORD = 128  # bytes; merges cost the length of a word, and blobs teach none worth having


class UlmfitTokenizer(PreTrainedTokenizerFast):
    """Byte-level BPE (Sennrich et al. 2016, section 3; over bytes as in GPT-2) with ULMFiT's special tokens.

    Text becomes `xxbos A`, a pair `xxbos A xxfld B`. `<br />` becomes a line break, runs of blanks one blank, and
    letters lower case if it was trained so; `decode` gives this normalised text back. A special token's name written
    in a text is spelled out in subwords and never becomes the special token. `special_tokens_mask` marks `xxbos`,
    `xxfld` and padding. Nothing is truncated unless the caller asks for it.

    Make one with `train_subword_tokenizer` or `from_pretrained`.
    """

    # No __init__ here: transformers 5 rebuilds the backend from vocabulary and merges alone, losing the normaliser,
    # for a subclass that has one; without it `tokenizer.json` is loaded as it is.
    model_input_names = ["input_ids", "attention_mask"]

    def _encode_plus(  # type: ignore[override]
        self, text: Any, text_pair: Any = None, **kwargs: Any
    ) -> BatchEncoding:
        split_words = kwargs.get("is_split_into_words", False)
        batched = isinstance(text, (list, tuple)) and (
            not split_words or isinstance(next(iter(text), None), (list, tuple))
        )
        if batched and not text:
            return BatchEncoding({name: [] for name in self.model_input_names})
        if not batched and text_pair is not None and len(text_pair) == 0:
            # transformers takes an empty second text for none at all, but only outside a batch: give it a blank,
            # which the normaliser removes, so that a pair has the same ids alone and in a batch.
            text_pair = [" "] if split_words else " "
        # Forced even where transformers passes its own default of False, so that special tokens cannot be spelled.
        kwargs["split_special_tokens"] = True
        return super()._encode_plus(_clean(text), None if text_pair is None else _clean(text_pair), **kwargs)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        # The backend remembers the padding and truncation of the last call; a saved tokenizer has none.
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}tokenizer.json"
        temporary = path.with_name(path.name + ".tmp")
        self.backend_tokenizer.save(str(temporary))
        os.replace(temporary, path)
        return (*file_names, str(path))


def train_subword_tokenizer(
    texts: Iterable[str], vocab_size: int = 8000, lowercase: bool = True
) -> UlmfitTokenizer:
    """Learn a byte-level BPE from `texts`, read once; the same texts in the same order give the same tokenizer.

    Args:
        texts: raw texts, of any size and number.
        vocab_size: rows wanted, special tokens and the 256 bytes included; small texts may give fewer.
        lowercase: fold letters to lower case, in training and in use, so that no word takes several places of a small
            vocabulary.

    Raises:
        ConfigError: `vocab_size` has no place for the special tokens and all bytes.
    """
    check_vocabulary_size(vocab_size)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(lowercase)
    # With a blank in front, the first word gets the token it has elsewhere.
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    # In training alone: no merge may run across the end of "xx" in "xxbos", or a corpus which spells special tokens
    # out would teach a merge into their names, and so a way for a text to produce them.
    names = "|".join(token.removeprefix("xx") for token in SPECIAL_TOKENS)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            byte_level,
            pre_tokenizers.Split(Regex(f"xx(?={names})"), behavior="isolated"),
            pre_tokenizers.FixedLength(LONGEST_TRAINING_WORD),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST_TOKEN,
    )
    tokenizer.train_from_iterator(map(without_surrogates, texts), trainer)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {FLD} $B:1",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (BOS, FLD)],
    )
    return UlmfitTokenizer(
        tokenizer_object=tokenizer,
        unk_token=UNK,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=FLD,
        split_special_tokens=True,
    )


def check_vocabulary_size(vocab_size: int) -> None:
    """A subword vocabulary must have places for the special tokens and all bytes.

    Raises:
        ConfigError: it has not.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            f"a subword vocabulary of {vocab_size} is too small",
            "in vocab_size",
            f"ask for {SMALLEST_VOCABULARY} or more: {len(SPECIAL_TOKENS)} special tokens, 256 bytes and the merges",
        )


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    """Line breaks of HTML, white space, case, then the composed form (NFC), which lower-casing can undo."""
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace(Regex(r"<[bB][rR]\s*/?>"), "\n"),
        # Blanks around a line break let the word after it have the same token as after any other word.
        normalizers.Replace(Regex(r"\s*\n\s*"), " \n "),
        normalizers.Replace(Regex(r"[ \t\u00A0]{2,}"), " "),
        *([normalizers.Lowercase()] if lowercase else []),
        normalizers.NFC(),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps)


def _clean(text: Any) -> Any:
    """`text`, a string or nested lists of them, without lone surrogates, which Rust cannot hold."""
    if isinstance(text, str):
        return without_surrogates(text)
    if isinstance(text, (list, tuple)):
        return type(text)(_clean(item) for item in text)
    return text
