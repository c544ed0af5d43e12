"""Raw text -> token ids in a memory-mapped file -> windows for truncated back-propagation through time."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlptl.errors import DataError

Encode = Callable[[list[str]], list[list[int]]]
TEXTS_AT_A_TIME = 1024
PARTIAL = ".partial-"
CHARACTERS_AT_A_TIME = 4_000_000
HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class TokenCorpus:
    """Token ids of many texts, one after the other, on disk.

    Attributes:
        ids: (tokens,), memory-mapped.
        texts, characters: how many of each the ids stand for.
    """

    ids: NDArray[np.unsignedinteger]
    texts: int
    characters: int

    def counts(self, vocab_size: int) -> NDArray[np.int64]:
        """How often each id occurs, (vocabulary,)."""
        total = np.zeros(vocab_size, dtype=np.int64)
        for start in range(0, len(self.ids), 2**24):
            total += np.bincount(self.ids[start : start + 2**24], minlength=vocab_size)
        return total


def tokenise_corpus(
    texts: Iterable[str],
    encode: Encode,
    vocab_size: int,
    folder: Path,
    on_texts: Callable[[int, int], None] = lambda texts, characters: None,
) -> TokenCorpus:
    """Write the ids of `texts` to `folder`, whole or not at all, holding a few hundred texts at a time.

    Args:
        texts: streamed once.
        encode: a batch of texts -> their ids.
        folder: made here; one that is complete already is opened and the texts are not read.
        on_texts: told the texts and characters done so far.

    Raises:
        DataError: there is no token in the texts.
    """
    if (folder / "corpus.json").is_file():
        return open_corpus(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
    _remove_abandoned(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        count = characters = tokens = 0
        with open(partial / "ids.bin", "wb") as file:
            for batch in _batches(texts):
                for ids in encode(batch):
                    np.asarray(ids, dtype=kind).tofile(file)
                    tokens += len(ids)
                count += len(batch)
                characters += sum(map(len, batch))
                on_texts(count, characters)
        if not tokens:
            raise DataError("no text in it", "the language model's text", "give files that hold text")
        facts = {"dtype": kind.name, "texts": count, "characters": characters, "tokens": tokens}
        (partial / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_corpus(folder)


def _remove_abandoned(cache: Path) -> None:
    """Remove what runs that were killed while they tokenised have left, once it is a day old."""
    for left in cache.glob(f"{PARTIAL}*"):
        if time.time() - left.stat().st_mtime > 24 * 3600:
            shutil.rmtree(left, ignore_errors=True)


def open_corpus(folder: Path) -> TokenCorpus:
    """Open what `tokenise_corpus` wrote."""
    facts = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    ids = np.memmap(folder / "ids.bin", dtype=facts["dtype"], mode="r", shape=(facts["tokens"],))
    return TokenCorpus(ids=ids, texts=facts["texts"], characters=facts["characters"])


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) >= TEXTS_AT_A_TIME or characters >= CHARACTERS_AT_A_TIME:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def split_held_out(texts: Iterable[str], held_out: bool) -> Iterator[str]:
    """Every twentieth text (`held_out`) or all others; of fewer than twenty texts, the last tenth of each.

    Raises nothing; the same texts are always split in the same way.
    """
    stream = iter(texts)
    first = list(itertools.islice(stream, HELD_OUT_EVERY))
    if len(first) < HELD_OUT_EVERY:
        for text in first:
            border = len(text) - len(text) // 10
            yield text[border:] if held_out else text[:border]
        return
    for number, text in enumerate(itertools.chain(first, stream), start=1):
        if (number % HELD_OUT_EVERY == 0) == held_out:
            yield text


@dataclass(frozen=True)
class Windows:
    """A corpus as parallel streams of consecutive windows, for truncated BPTT.

    Item `i` is window `i // rows` of stream `i % rows`, so that reading in order in batches of `rows` carries each
    stream's state from one batch to the next, and a resumed run finds its place by counting. A backward language
    model reads the streams from the end of the corpus; its items are in the order of the text all the same.

    Attributes:
        ids: (tokens,).
        rows: streams, which is the batch size.
        length: tokens of a window; a last, shorter window is left out unless `partial`.
    """

    ids: NDArray[np.unsignedinteger]
    rows: int
    length: int
    backward: bool = False
    partial: bool = False

    @property
    def stream_length(self) -> int:
        """Targets of each stream."""
        return (len(self.ids) - 1) // self.rows

    @property
    def windows(self) -> int:
        """Windows of each stream."""
        whole, rest = divmod(self.stream_length, self.length)
        return whole + int(self.partial and rest > 0)

    @property
    def targets(self) -> int:
        """Tokens predicted in one pass."""
        return self.rows * (self.stream_length if self.partial else self.windows * self.length)

    def __len__(self) -> int:
        return self.windows * self.rows

    def __getitem__(self, item: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and the token to predict at each of them, (length,) each."""
        window, row = divmod(item, self.rows)
        start = row * self.stream_length + window * self.length
        stop = min(start + self.length, (row + 1) * self.stream_length)
        if self.backward:
            end = len(self.ids)
            inputs, targets = self.ids[end - stop : end - start], self.ids[end - stop - 1 : end - start - 1]
        else:
            inputs, targets = self.ids[start:stop], self.ids[start + 1 : stop + 1]
        return np.asarray(inputs, dtype=np.int64), np.asarray(targets, dtype=np.int64)


def training_windows(corpus: TokenCorpus, rows: int, length: int, backward: bool) -> Windows:
    """Windows of the training text; fewer rows, then shorter windows, where the text is small.

    Raises:
        DataError: fewer than two tokens.
    """
    tokens = len(corpus.ids)
    if tokens < 2:
        raise DataError("fewer than two tokens", "the language model's text", "give more text")
    length = min(length, tokens - 1)
    rows = max(1, min(rows, (tokens - 1) // length))
    return Windows(corpus.ids, rows, length, backward)


def validation_windows(corpus: TokenCorpus, rows: int, length: int, backward: bool, most: int) -> Windows:
    """Windows over the first `most` tokens of held-out text, every one of them predicted."""
    ids = corpus.ids[: most + 1]
    return Windows(ids, max(1, min(rows, (len(ids) - 1) // (4 * length))), length, backward, partial=True)
