"""Rows -> token ids, with a count of what a length limit cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlptl.errors import ConfigError

ROWS_AT_A_TIME = 1000


@dataclass
class Truncation:
    """What a length limit cost so far: of `rows` with `tokens`, `cut_rows` were cut by `cut_tokens` in all."""

    rows: int = 0
    tokens: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0

    def add(self, encoded: EncodedRows) -> None:
        """Count further rows."""
        self.rows += len(encoded.encodings)
        self.tokens += encoded.tokens
        self.cut_rows += encoded.truncated_rows
        self.cut_tokens += encoded.truncated_tokens

    def note(self, what: str) -> str | None:
        """A sentence on it, or None where nothing was cut."""
        if not self.cut_rows:
            return None
        return (
            f"{self.cut_rows:,} of {self.rows:,} {what} were cut by --max-length, "
            f"which lost {self.cut_tokens:,} tokens ({self.cut_tokens / self.tokens:.1%})"
        )


@dataclass(frozen=True)
class EncodedRows:
    """Tokenised rows.

    Attributes:
        encodings: the tokenizer's `input_ids`, `attention_mask` and whatever else it gives, as arrays of each row.
        tokens: of all rows before anything was cut.
        truncated_rows, truncated_tokens: how many rows were cut, and by how many tokens in all.
    """

    encodings: list[Mapping[str, NDArray[Any]]]
    tokens: int
    truncated_rows: int
    truncated_tokens: int

    def note(self, what: str) -> str | None:
        """What a length limit cost, or None where nothing was cut."""
        return Truncation(len(self.encodings), self.tokens, self.truncated_rows, self.truncated_tokens).note(
            what
        )


def check_max_length(tokenizer: Any, max_length: int | None, *, pairs: bool) -> None:
    """A limit must leave room for the marks around a text, or the tokenizer would pass over it without a word.

    Args:
        tokenizer: of `transformers`.
        pairs: whether a row has two texts.

    Raises:
        ConfigError: it does not.
    """
    marks = tokenizer.num_special_tokens_to_add(pair=pairs)
    if max_length is not None and max_length < marks:
        cause = f"a limit of {max_length} leaves no room for the {marks} marks around a text"
        raise ConfigError(cause, "--max-length", "raise it")


def encode_rows(
    rows: Sequence[Mapping[str, Any]] | Iterable[Mapping[str, Any]],
    tokenizer: Callable[..., Mapping[str, Any]],
    max_length: int | None,
    **options: Any,
) -> EncodedRows:
    """Tokenise `text` and, where there is one, `text_pair` of each row: strings or lists of words; None is empty.

    Args:
        tokenizer: of `transformers`; `options` are passed on to it.
        max_length: tokens of a row that are kept, markers included; None for all.

    Raises:
        ConfigError: as `check_max_length`, where a row is longer than that.
    """
    encodings: list[Mapping[str, NDArray[Any]]] = []
    tokens = cut_rows = cut_tokens = 0
    for batch in _batches(rows):
        texts = [_text(row, "text") for row in batch]
        pairs = [_text(row, "text_pair") for row in batch] if "text_pair" in batch[0] else None
        whole = tokenizer(texts, pairs, verbose=False, **options)
        lengths = [len(ids) for ids in whole["input_ids"]]
        tokens += sum(lengths)
        if max_length is not None and max(lengths) > max_length:
            check_max_length(tokenizer, max_length, pairs=pairs is not None)
            cut = [length - max_length for length in lengths if length > max_length]
            cut_rows, cut_tokens = cut_rows + len(cut), cut_tokens + sum(cut)
            whole = tokenizer(texts, pairs, verbose=False, truncation=True, max_length=max_length, **options)
        keys = list(whole)
        for number in range(len(texts)):
            encodings.append({key: np.asarray(whole[key][number], dtype=np.int32) for key in keys})
    return EncodedRows(encodings, tokens, cut_rows, cut_tokens)


def _text(row: Mapping[str, Any], name: str) -> str | list[str]:
    text: str | list[str] | None = row[name]
    return "" if text is None else text


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_AT_A_TIME:
            yield batch
            batch = []
    if batch:
        yield batch
