"""Raw text -> token ids in a memory-mapped file, and the part of it that is held out."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlptl.data.parallel_encoding import encoded
from nlptl.errors import DataError
from nlptl.training.windows import CorpusEncoder

TEXTS_AT_A_TIME = 1024
PARTIAL = ".partial-"
CHARACTERS_AT_A_TIME = 4_000_000
HELD_OUT_EVERY = 20
HELD_OUT_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class TokenCorpus:
    """Token ids of many texts, one after the other, on disk.

    Attributes:
        ids: (tokens,), memory-mapped.
        texts, characters: how many of each the ids stand for.
        spellings: of the ids from the vocabulary's size on.
    """

    ids: NDArray[np.unsignedinteger]
    texts: int
    characters: int
    spellings: Sequence[str] = ()

    def counts(self, vocab_size: int, unknown: int) -> NDArray[np.int64]:
        """How often each token occurs, (vocabulary,); `unknown` stands for all beyond the vocabulary."""
        total = np.zeros(vocab_size, dtype=np.int64)
        for start in range(0, len(self.ids), 2**24):
            part = np.bincount(self.ids[start : start + 2**24], minlength=vocab_size)
            total += part[:vocab_size]
            total[unknown] += part[vocab_size:].sum()
        return total

    def beginning(self, tokens: int) -> TokenCorpus:
        """The corpus of its first tokens; `texts` and `characters` remain those of the whole."""
        return replace(self, ids=self.ids[:tokens])


def tokenise_corpus(
    texts: Iterable[str],
    encoder: CorpusEncoder,
    folder: Path,
    on_texts: Callable[[int, int], None] = lambda texts, characters: None,
) -> TokenCorpus:
    """Write the ids of `texts` to `folder`, whole or not at all, holding a few hundred texts at a time.

    Args:
        texts: streamed once.
        encoder: a batch of texts -> their ids.
        folder: made here; one that is complete already is opened and the texts are not read.
        on_texts: told the texts and characters done so far.

    Raises:
        DataError: there is no token in the texts.
    """
    if (folder / "corpus.json").is_file():
        return open_corpus(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    grows = encoder.spellings is not None
    kind = np.dtype(np.uint32 if grows or encoder.vocabulary > 2**16 else np.uint16)
    _remove_abandoned(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        count = characters = tokens = 0
        with open(partial / "ids.bin", "wb") as file:
            for batch, found in encoded(_batches(texts), encoder):
                for ids in found:
                    file.write(ids.astype(kind).tobytes())
                    tokens += len(ids)
                count += len(batch)
                characters += sum(map(len, batch))
                on_texts(count, characters)
        if not tokens:
            raise DataError("no text in it", "the language model's text", "give files that hold text")
        if encoder.spellings is not None:
            (partial / "spellings.json").write_text(json.dumps(encoder.spellings), encoding="utf-8")
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
    spelled = folder / "spellings.json"
    spellings = json.loads(spelled.read_text(encoding="utf-8")) if spelled.is_file() else ()
    return TokenCorpus(ids, facts["texts"], facts["characters"], spellings)


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


@dataclass(frozen=True)
class SplitTexts:
    """The part of some texts that is held out, or the rest, to be read as often as need be."""

    texts: Iterable[str]
    held_out: bool

    def __iter__(self) -> Iterator[str]:
        return split_held_out(self.texts, self.held_out)


def split_held_out(texts: Iterable[str], held_out: bool) -> Iterator[str]:
    """Every twentieth text (`held_out`), up to two million characters, or all others; of fewer than twenty texts the
    last tenth of each. The same texts are always split in the same way.
    """
    stream = iter(texts)
    first = list(itertools.islice(stream, HELD_OUT_EVERY))
    if len(first) < HELD_OUT_EVERY:
        for text in first:
            border = len(text) - min(len(text) // 10, HELD_OUT_CHARACTERS)
            yield text[border:] if held_out else text[:border]
        return
    kept = 0
    for number, text in enumerate(itertools.chain(first, stream), start=1):
        apart = number % HELD_OUT_EVERY == 0 and kept < HELD_OUT_CHARACTERS
        kept += len(text) if apart else 0
        if apart == held_out:
            yield text
