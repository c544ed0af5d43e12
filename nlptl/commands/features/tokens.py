"""Rows -> token ids, and what there is to say of the rows: what was cut, and what had no token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from nlptl.commands.features.rows import Row
from nlptl.config import ExtractConfig
from nlptl.data.encoding import EncodedRows, Truncation, encode_rows
from nlptl.training.batching import Encoding

ROWS_AT_A_TIME = 512  # that are tokenised together
NO_LIMIT = 10**9  # tokenizers write a larger number where texts of any length are read
SHOWN_ROWS = 10


class TextReader:
    """Rows -> token ids, and what there is to say of the rows.

    Attributes:
        max_length: tokens of a row that are read, markers included; None for all.
        tokens: those read so far, without the markers.
        truncation: what a length limit cost so far.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: ExtractConfig) -> None:
        self.tokenizer = tokenizer
        limit = tokenizer.model_max_length
        self.max_length = config.max_length or (limit if limit < NO_LIMIT else None)
        self.tokens = 0
        self.truncation = Truncation()
        self._split = config.pretokenized
        self._empty, self._second_empty = RowsWith(), RowsWith()

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Encoding]]:
        """Each row with its token ids."""
        source = iter(rows)
        while part := list(islice(source, ROWS_AT_A_TIME)):
            encoded = self.encode(part)
            self.truncation.add(encoded)
            for row, encoding in zip(part, encoded.encodings, strict=True):
                tokens = text_tokens(encoding)
                self.tokens += tokens
                if not tokens:
                    self._empty.add(row)
                if row.get("text_pair") == "":
                    self._second_empty.add(row)
                yield row, encoding

    def encode(self, rows: Iterable[Row]) -> EncodedRows:
        """Rows -> token ids and a mask of the markers among them; nothing is counted."""
        words = {"is_split_into_words": True} if self._split else {}
        return encode_rows(
            _in_words(rows) if self._split else rows,
            self.tokenizer,
            self.max_length,
            return_special_tokens_mask=True,
            **words,
        )

    def notes(self, level: str) -> Iterator[str]:
        """What was cut, and what had no token, of the rows read."""
        if (cut := self.truncation.note("texts")) is not None:
            yield cut
        if self._empty.count:
            yield f"kept without a token, {'as zeros' if level == 'text' else 'without vectors'}: {self._empty}"
        if self._second_empty.count:
            yield f"kept with an empty second text: {self._second_empty}"


def text_tokens(encoding: Encoding) -> int:
    """How many tokens of an encoded text are its own, and no markers."""
    return len(encoding["special_tokens_mask"]) - int(encoding["special_tokens_mask"].sum())


def _in_words(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Texts, and second texts, as lists of words, split on white space and nowhere else."""
    for row in rows:
        texts = {name: (row[name] or "").split() for name in ("text", "text_pair") if name in row}
        yield {**row, **texts}


@dataclass
class RowsWith:
    """Rows that something is said of: how many, and the first few of their numbers."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < SHOWN_ROWS:
            self.first.append(row["row"])

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.first))
        if self.count == 1:
            return f"1 row (row {numbers})"
        return f"{self.count:,} rows (rows {numbers}{', ...' if self.count > SHOWN_ROWS else ''})"
