"""The tokenizer of the ELMo family: words as characters, and the vocabulary that its language model predicts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedTokenizer
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy

from nlptl.errors import ModelError
from nlptl.families.elmo.characters import BOS, EOS, PAD, UNK, WORD_LENGTH, character_ids, mark_ids
from nlptl.families.words import split_words, word_counts

VOCABULARY_FILE = "vocab.json"
SPECIAL_WORDS = (PAD, BOS, EOS, UNK)  # ids 0 to 3
REMEMBERED_WORDS = 2**17
FEWEST_OCCURRENCES = 2  # of a word of the vocabulary

Rows = NDArray[np.int16]


class ElmoTokenizer(PreTrainedTokenizer):
    """Text -> `<S>`, its words, `</S>`, each word as its 50 character ids; a pair is two such sentences.

    `input_ids` is (words, 50) a text, an array; `special_tokens_mask` marks the sentence boundaries. A text that
    spells out `<S>` gets a word of three letters. No word is unknown to the model; the vocabulary, by which
    `convert_tokens_to_ids` and `word_ids` number words, is what a language model predicts, and may be empty.

    With `is_split_into_words=True` each given word is one token as it is.

    Args:
        vocab: the words in the order of their ids, `<PAD>`, `<S>`, `</S>` and `<UNK>` first.
        vocab_file: a JSON list of the same, if `vocab` is not given.
        lowercase: fold the letters of raw text to lower case. Words that are given as such are left alone unless
            `lowercase` is set.

    Raises:
        ModelError: the vocabulary is missing or no list of words.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab: Sequence[str] | None = None,
        vocab_file: str | os.PathLike[str] | None = None,
        lowercase: bool = False,
        **kwargs: Any,
    ) -> None:
        self._words = (
            _checked(list(vocab), "in vocab") if vocab is not None else _read_words(vocab_file, kwargs)
        )
        self._ids = {word: number for number, word in enumerate(self._words)}
        self.lowercase = lowercase
        self._remembered: dict[str, Rows] = {}
        self._boundaries = (mark_ids(BOS), mark_ids(EOS))
        given = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
        kwargs["token_type_ids_pattern"] = "all_zeros"
        super().__init__(lowercase=lowercase, **{**given, **kwargs})

    @property
    def vocab_size(self) -> int:
        """Words that a language model over this vocabulary can predict."""
        return len(self._words)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = len(self._words)

    def words(self, text: str) -> list[str]:
        """The words of a raw text."""
        return split_words(text, lowercase=self.lowercase)

    def word_ids(self, words: Iterable[str]) -> list[int | None]:
        """Each word's place in the vocabulary, None where it has none."""
        inside = len(SPECIAL_WORDS)
        found = (self._ids.get(word) for word in words)
        return [number if number is None or number >= inside else None for number in found]

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        return self.words(text)

    def spelled(self, words: Sequence[str]) -> Rows:
        """Words -> their characters, (words, 50)."""
        rows = np.empty((len(words), WORD_LENGTH), dtype=np.int16)
        remembered = self._remembered
        for place, word in enumerate(words):
            row = remembered.get(word)
            if row is None:
                if len(remembered) >= REMEMBERED_WORDS:
                    remembered.clear()
                row = remembered[word] = character_ids(word)
            rows[place] = row
        return rows

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[UNK])

    def _convert_id_to_token(self, index: int) -> str:
        return self._words[index] if 0 <= index < len(self._words) else UNK

    def _item_words(self, item: object, split_words: bool) -> list[str]:
        if split_words and isinstance(item, (list, tuple)) and all(isinstance(word, str) for word in item):
            return [word.lower() for word in item] if self.lowercase else list(item)
        if isinstance(item, str) and not split_words:
            return self.words(item)
        kind = "list of words" if split_words else "string"
        raise ValueError(f"a text to tokenize is a {kind}, not {type(item).__name__} ({str(item)[:40]!r})")

    def _sentence(self, words: list[str], marked: bool) -> tuple[Rows, list[int]]:
        """A sentence's rows, and ones where they are boundaries."""
        rows = self.spelled(words)
        if not marked:
            return rows, [0] * len(rows)
        begin, end = self._boundaries
        return np.concatenate([begin[None], rows, end[None]]), [1, *([0] * len(rows)), 1]

    def _encode_plus(  # type: ignore[override]
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        **kwargs: Any,
    ) -> BatchEncoding:
        # Overridden whole: transformers knows one number a token.
        batched = isinstance(text, (list, tuple)) and (
            not is_split_into_words or (len(text) > 0 and isinstance(text[0], (list, tuple)))
        )
        texts, pairs = (text, text_pair) if batched else ([text], None if text_pair is None else [text_pair])
        if pairs is not None and len(pairs) != len(texts):
            raise ValueError("text and text_pair are not batches of the same size")
        limit = None if truncation_strategy == TruncationStrategy.DO_NOT_TRUNCATE else max_length
        columns: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "special_tokens_mask": []}
        for number, first in enumerate(texts):
            second = None if pairs is None else pairs[number]
            parts = [
                self._sentence(self._item_words(part, is_split_into_words), add_special_tokens)
                for part in ((first,) if second is None else (first, second))
            ]
            rows = np.concatenate([rows for rows, _ in parts])[:limit]
            columns["input_ids"].append(rows)
            columns["attention_mask"].append([1] * len(rows))
            columns["special_tokens_mask"].append([mark for _, marks in parts for mark in marks][:limit])
        if return_attention_mask is False:
            del columns["attention_mask"]
        if not return_special_tokens_mask:
            del columns["special_tokens_mask"]
        if padding_strategy != PaddingStrategy.DO_NOT_PAD or (return_tensors is not None and batched):
            fixed = max_length if padding_strategy == PaddingStrategy.MAX_LENGTH else None
            longest = fixed or max((len(rows) for rows in columns["input_ids"]), default=0)
            columns = {name: [_filled(row, longest) for row in rows] for name, rows in columns.items()}
        if not batched and return_tensors is None:
            return BatchEncoding({name: rows[0] for name, rows in columns.items()})
        if return_tensors is not None:
            columns = {
                name: [np.asarray(row, dtype=np.int64) for row in rows] for name, rows in columns.items()
            }
        return BatchEncoding(columns, tensor_type=return_tensors)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{VOCABULARY_FILE}"
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self._words, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        os.replace(temporary, path)
        return (str(path),)

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered of words is not part of what the tokenizer is: copies and hashes go without it.
        return {**self.__dict__, "_remembered": {}}


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    on_note: Callable[[str], None] = lambda note: None,
    *,
    lowercase: bool = True,
) -> ElmoTokenizer:
    """Count the words of `texts`, read once; the vocabulary is the special words and the most frequent others.

    Of equally frequent words the one that comes first goes first; words that occur once are left out.
    """
    counts = word_counts((split_words(text, lowercase=lowercase) for text in texts), on_note)
    by_count = sorted(counts, key=lambda word: -counts[word])
    known = [word for word in by_count if counts[word] >= FEWEST_OCCURRENCES and word not in SPECIAL_WORDS]
    return ElmoTokenizer([*SPECIAL_WORDS, *known][: max(vocab_size, len(SPECIAL_WORDS))], lowercase=lowercase)


def _filled(row: Any, length: int) -> Any:
    """A row of ids or marks, filled up with zeros to the length."""
    array = np.asarray(row, dtype=np.int16)
    full = np.zeros((max(length, len(array)), *array.shape[1:]), dtype=np.int16)
    full[: len(array)] = array
    return full


def _read_words(path: str | os.PathLike[str] | None, loading: Mapping[str, Any]) -> list[str]:
    remedy = "copy the model folder again"
    if path is None:
        where = str(loading.get("name_or_path") or "in vocab")
        raise ModelError(f"its tokenizer has no {VOCABULARY_FILE}", where, remedy)
    try:
        words = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the vocabulary cannot be read ({error})", f"in {path}", remedy) from error
    return _checked(words, f"in {path}")


def _checked(words: object, where: str) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ModelError("the vocabulary is not a list of words", where, "copy the model folder again")
    if tuple(words[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS:
        raise ModelError(
            f"the vocabulary does not begin with {', '.join(SPECIAL_WORDS)}", where, "copy it again"
        )
    return words
