"""Byte-level BPE in Rust, from a single `tokenizer.json`: the subwords of the families that learn their vocabulary."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
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
from nlptl.families.subword_memory import SubwordMemory

BYTES = 256  # every one has a token, so that nothing is ever unknown
LONGEST_TOKEN = 32  # bytes; keeps rows of dashes and the like from taking places of the vocabulary
LONGEST_TRAINING_WORD = 128  # bytes; merges cost the length of a word, and blobs teach none worth having
LINE_BREAK_TAG = r"<[bB][rR]\s*/?>"
# What the normaliser replaces, and by what. A tokenizer that is loaded may have no other patterns: add, never remove.
REPLACED = (
    (LINE_BREAK_TAG, "\n"),
    # Blanks around a line break let the word after it have the same token as after any other word.
    (r"\s*\n\s*", " \n "),
    (r"[ \t\u00A0]{2,}", " "),
)

T = TypeVar("T", bound="SubwordTokenizer")


class SubwordTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that is its `tokenizer.json`, for texts and pairs as they come.

    A special token's name written in a text is spelled out in subwords and never becomes the special token. Nothing is
    truncated unless the caller asks for it.
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

    def corpus_ids(self) -> Callable[[Sequence[str]], Sequence[Sequence[int] | NDArray[np.int64]]]:
        """Texts -> the ids that a call gives, without the records beside them that a whole corpus has no use for."""
        backend = self.backend_tokenizer
        memory = _memory(backend)

        def ids(texts: Sequence[str]) -> Sequence[Sequence[int] | NDArray[np.int64]]:
            backend.no_padding()
            backend.no_truncation()
            backend.encode_special_tokens = True
            cleaned = _clean(list(texts))
            if memory is not None:
                return memory(cleaned)
            return [encoding.ids for encoding in backend.encode_batch_fast(cleaned)]

        return ids

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


def train_byte_level_bpe(
    kind: type[T],
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str],
    *,
    single: str,
    pair: str,
    roles: Mapping[str, str],
    lowercase: bool = True,
    kept_apart: Regex | None = None,
) -> T:
    """Learn a byte-level BPE (Sennrich et al. 2016, section 3; over bytes as in GPT-2) from `texts`, read once.

    The same texts in the same order give the same tokenizer. `<br />` becomes a line break, runs of blanks one blank.

    Args:
        kind: the family's class of tokenizer.
        texts: raw texts, of any size and number.
        vocab_size: rows wanted, special tokens and the 256 bytes included; small texts may give fewer.
        special_tokens: the first rows. A name of letters and signs is never one word to the tokenizer, so that no text
            can spell it; of a name that is one word, `kept_apart` has to match a part.
        single, pair: what surrounds a text and a pair, as `tokenizers.processors.TemplateProcessing` takes it.
        roles: `pad_token` and other roles that `transformers` knows.
        lowercase: fold letters to lower case, in training and in use, so that no word takes several places of a small
            vocabulary.
        kept_apart: what no merge may run across, in training alone.

    Raises:
        ConfigError: `vocab_size` has no place for the special tokens and all bytes.
    """
    check_subword_vocabulary(vocab_size, len(special_tokens))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(lowercase)
    # With a blank in front, the first word gets the token it has elsewhere.
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    apart = [] if kept_apart is None else [pre_tokenizers.Split(kept_apart, behavior="isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [byte_level, *apart, pre_tokenizers.FixedLength(LONGEST_TRAINING_WORD)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST_TOKEN,
    )
    tokenizer.train_from_iterator(map(without_surrogates, texts), trainer)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = template(single, pair, {token: i for i, token in enumerate(special_tokens)})
    return kind(tokenizer_object=tokenizer, split_special_tokens=True, **roles)


def template(single: str, pair: str, ids: Mapping[str, int]) -> processors.TemplateProcessing:
    """What surrounds a text and a pair of texts; `ids` has the special tokens that may be named."""
    named = [token for token in ids if token in f"{single} {pair}".split()]
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, ids[token]) for token in named]
    )


def check_subword_vocabulary(vocab_size: int, special_tokens: int) -> None:
    """A subword vocabulary must have places for the special tokens and all bytes.

    Raises:
        ConfigError: it has not.
    """
    smallest = special_tokens + BYTES
    if vocab_size < smallest:
        raise ConfigError(
            f"a subword vocabulary of {vocab_size} is too small",
            "in vocab_size",
            f"ask for {smallest} or more: {special_tokens} special tokens, {BYTES} bytes and the merges",
        )


def without_surrogates(text: str) -> str:
    """`text` as valid Unicode: surrogate pairs joined into their character, lone surrogates as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    """Line breaks of HTML, white space, case, then the composed form (NFC), which lower-casing can undo."""
    steps: list[normalizers.Normalizer] = [
        *(normalizers.Replace(Regex(pattern), content) for pattern, content in REPLACED),
        *([normalizers.Lowercase()] if lowercase else []),
        normalizers.NFC(),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps)


def _memory(backend: Tokenizer) -> SubwordMemory | None:
    """A memory for a tokenizer that is made as those here are; None for any other."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if _state(backend.pre_tokenizer) != _state(byte_level):
        return None
    for lowercase in (True, False):
        if _state(backend.normalizer) == _state(_normalizer(lowercase)):
            return SubwordMemory(backend, LINE_BREAK_TAG, lowercase)
    return None


def _state(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())


def _clean(text: Any) -> Any:
    """`text`, a string or nested lists of them, without lone surrogates, which Rust cannot hold."""
    if isinstance(text, str):
        return without_surrogates(text)
    if isinstance(text, (list, tuple)):
        return type(text)(_clean(item) for item in text)
    return text
