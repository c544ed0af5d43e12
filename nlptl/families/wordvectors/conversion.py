"""A published file of word vectors -> a model folder, read once and written as it is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlptl.errors import ModelError
from nlptl.families.words import split_words
from nlptl.families.wordvectors.configuration import PAD, SEP, SPECIAL_TOKENS, UNK, WordVectorsConfig
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer
from nlptl.families.wordvectors.vector_files import Block, vector_file

TENSOR = "embedding.weight"
HEADER_BYTES = 248  # with the eight of its own length before it, the numbers begin at a multiple of eight
OLD_UNKNOWN = "UNK"  # what word2vec's authors call the unknown word


def import_vectors(path: Path, folder: Path, texts: Iterable[str] | None) -> dict[str, Any]:
    """Write config, table and tokenizer of a file of word vectors into `folder`.

    No more than a block of rows is held at a time, beside the words. The unknown word takes the file's own vector for
    it (`<unk>`, or `UNK`), else the mean of all. Of a repeated word the first row counts.

    Args:
        texts: keep only words of these texts, in whatever case; None for all.

    Returns:
        `parameters`, `vocabulary`, `ignored_keys`, `notes`.

    Raises:
        ModelError: the file is damaged, no file of word vectors, or has none of the words wanted.
    """
    source = vector_file(path)
    chosen = _Chosen(texts)
    with open(folder / "model.safetensors", "wb") as file:
        table = _Table(file, source.width)
        for block in source.blocks(chosen):
            table.write(block)
        if not chosen.seen.keys() - {SPECIAL_TOKENS[UNK], OLD_UNKNOWN}:
            cause = "none of the words of the texts is in it" if texts is not None else "it holds no words"
            raise ModelError(cause, f"in {path}", "give other vectors")
        table.finish()
    words = chosen.words()
    config = WordVectorsConfig(vocab_size=len(words), embedding_size=source.width)
    config.architectures, config.dtype = ["WordVectorsModel"], "float32"
    config.save_pretrained(folder)
    WordVectorsTokenizer(words).save_pretrained(folder)
    header = "with a header" if source.rows is not None else "without a header"
    notes = [
        f"{source.format} {header}, {table.rows:,} words of {source.width} numbers; the unknown word is "
        + ("the file's own" if table.own_unknown is not None else "the mean of all")
    ]
    counted = {
        "rows repeat a word and were left out": chosen.repeated,
        "rows have the name of a special token and were left out": chosen.reserved,
        "rows are of words that the texts do not have and were left out": chosen.unwanted,
        "words are not UTF-8; their damaged letters were replaced": source.damaged_words,
    }
    notes += [f"{count:,} {what}" for what, count in counted.items() if count]
    return {
        "parameters": len(words) * source.width,
        "vocabulary": len(words),
        "ignored_keys": [],
        "notes": notes,
    }


class _Chosen:
    """Which rows of a file are kept; asked once for each, in order."""

    def __init__(self, texts: Iterable[str] | None) -> None:
        self.wanted: set[str] | None = None
        if texts is not None:
            found = {word for text in texts for word in split_words(text)}
            self.wanted = found | {word.lower() for word in found} | {SPECIAL_TOKENS[UNK], OLD_UNKNOWN}
        self.seen: dict[str, None] = {}
        self.repeated = self.reserved = self.unwanted = 0

    def __call__(self, word: str) -> bool:
        if word in self.seen:
            self.repeated += 1
        elif word in (SPECIAL_TOKENS[PAD], SPECIAL_TOKENS[SEP]):
            self.reserved += 1
        elif self.wanted is not None and word not in self.wanted and word.lower() not in self.wanted:
            self.unwanted += 1
        else:
            self.seen[word] = None
            return True
        return False

    def words(self) -> list[str]:
        """The word of each row of the table."""
        self.seen.pop(SPECIAL_TOKENS[UNK], None)
        return [*SPECIAL_TOKENS, *self.seen]


class _Table:
    """A safetensors file of one tensor, written row by row.

    The format: the header's length in eight little-endian bytes, the header in JSON, which may end in spaces, the
    numbers.
    """

    def __init__(self, file: BinaryIO, width: int) -> None:
        self.file, self.width, self.rows = file, width, 0
        self.total = np.zeros(width, dtype=np.float64)
        self.own_unknown: NDArray[np.float32] | None = None
        file.write(bytes(8 + HEADER_BYTES + 4 * width * len(SPECIAL_TOKENS)))

    def write(self, block: Block) -> None:
        """Append rows; that of the unknown word waits for the end."""
        words, vectors = block
        unknown = SPECIAL_TOKENS[UNK]
        if OLD_UNKNOWN in words and self.own_unknown is None:
            self.own_unknown = vectors[words.index(OLD_UNKNOWN)].copy()
        if unknown in words:
            place = words.index(unknown)
            self.own_unknown = vectors[place].copy()
            vectors = np.delete(vectors, place, axis=0)
        self.file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self.total += vectors.sum(axis=0, dtype=np.float64)
        self.rows += len(vectors)

    def finish(self) -> None:
        """The unknown word's row, and the header."""
        mean = self.total / self.rows
        unknown = (mean if self.own_unknown is None else self.own_unknown).astype("<f4")
        self.file.seek(8 + HEADER_BYTES + 4 * self.width * UNK)
        self.file.write(unknown.tobytes())
        shape = [self.rows + len(SPECIAL_TOKENS), self.width]
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * shape[0] * shape[1]]}
        header = json.dumps({"__metadata__": {"format": "pt"}, TENSOR: entry}).encode().ljust(HEADER_BYTES)
        assert len(header) == HEADER_BYTES
        self.file.seek(0)
        self.file.write(HEADER_BYTES.to_bytes(8, "little") + header)
