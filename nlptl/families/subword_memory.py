"""A byte-level BPE that remembers the ids of what stands between two blanks, for whole corpora.

A corpus repeats its words: twenty megabytes of reviews have 3.5 million of them, of which 180,000 differ. The Rust
tokenizer normalises and merges each one anew and keeps, for each character, where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers

Array = NDArray[np.int64]

CHARACTERS_REMEMBERED = 2**23  # of chunks; with their ids and numbers about 150 MB
BEGINNING, BREAK, END = (
    "",
    "\n",
    " ",
)  # BEGINNING and END stand for a text's marks: no chunk is empty or a blank
# White space that Rust and Python do not see alike, and what is rare.
ODD_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
BLANKS = re.compile("[ \t\xa0]{2,}")
RARE_SPACE = re.compile("[\t\r\xa0]")
# How GPT-2 cuts ASCII before any merge; what has other characters is left whole.
PIECES = re.compile(
    r" [^\s\x80-\U0010FFFF]*[^\x00-\x7F]\S*"
    r"|'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
)
# How it writes the bytes that are no signs to print, as far as ASCII goes.
BYTES = {byte: 256 + byte for byte in range(33)} | {127: 289}


class SubwordMemory:
    """Texts -> ids, those of the tokenizer itself.

    Args:
        backend: with a normaliser that makes a line break of what `line_breaks` finds, puts one blank on either side
            of breaks and joins them, makes one blank of several, tabs and no-break spaces among them, perhaps lowers
            case, composes (NFC) and strips; and a byte-level pre-tokenizer which puts a blank in front of a text.
        line_breaks: a pattern, of tags only.
        lowercase: whether case is lowered.
    """

    def __init__(self, backend: Tokenizer, line_breaks: str, lowercase: bool) -> None:
        self._backend = backend
        self._line_breaks = re.compile(line_breaks)
        self._lowercase = lowercase
        self._of_piece, self._of_chunk = Tokenizer(backend.model), Tokenizer(backend.model)
        folding = [normalizers.Lowercase()] if lowercase else []
        self._of_chunk.normalizer = normalizers.Sequence([*folding, normalizers.NFC()])
        self._of_chunk.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._forget()

    def __call__(self, texts: Sequence[str]) -> list[Array]:
        """The ids of each text, marks included.

        Args:
            texts: valid Unicode.
        """
        if not texts:
            return []
        chunks = [self._chunks(text) for text in texts]
        counts = [len(of_text) for of_text in chunks]
        numbers = self._chunk_ids.numbers(chain.from_iterable(chunks), sum(counts))
        self._learn()
        ids, lengths = self._chunk_ids.of(numbers)
        borders = np.append(0, np.cumsum(lengths))[list(accumulate(counts))]
        found = np.split(ids, borders[:-1])
        unlike = [number for number, count in enumerate(counts) if not count]
        encodings = self._backend.encode_batch_fast([texts[number] for number in unlike])
        for number, encoding in zip(unlike, encodings, strict=True):
            found[number] = np.asarray(encoding.ids, dtype=np.int64)
        if self._characters > CHARACTERS_REMEMBERED:
            self._forget()
        return found

    def _chunks(self, text: str) -> list[str]:
        """What the blanks of a text part, marks around it; none where the tokenizer itself has to read it."""
        if self._lowercase and text.isascii():
            text = text.lower()  # so that fewer chunks differ
        if ODD_SPACE.search(text):
            return []
        if "<" in text:
            text = self._line_breaks.sub(BREAK, text)
        text = f" {BREAK} ".join([line for line in map(str.strip, text.split(BREAK)) if line])
        if "  " in text or RARE_SPACE.search(text):
            text = BLANKS.sub(" ", text)
            if RARE_SPACE.search(text):
                return []
        return [BEGINNING, *text.split(" "), END] if text else []

    def _learn(self) -> None:
        """Find the ids of the chunks that were asked for the first time."""
        new = self._chunk_ids.unknown()
        if not new:
            return
        self._characters += sum(map(len, new))
        if self._lowercase:
            new = [chunk.lower() if chunk.isascii() else chunk for chunk in new]
        pieces = PIECES.findall(f" {f'{BREAK} '.join(new)}")
        numbers = self._piece_ids.numbers(pieces, len(pieces))
        self._learn_pieces()
        ids, lengths = self._piece_ids.of(numbers)
        ends = np.flatnonzero(numbers == 0)  # a break has the number 0 and no ids: it parts the chunks
        self._chunk_ids.add(ids, np.diff(np.cumsum(lengths)[np.append(ends, -1)], prepend=0))

    def _learn_pieces(self) -> None:
        new = self._piece_ids.unknown()
        merged = iter(
            self._of_piece.encode_batch_fast([piece.translate(BYTES) for piece in new if piece.isascii()])
        )
        other = iter(self._of_chunk.encode_batch_fast([piece for piece in new if not piece.isascii()]))
        self._piece_ids.add_each([next(merged if piece.isascii() else other).ids for piece in new])

    def _forget(self) -> None:
        """Remember nothing but the marks and the line break."""
        before, after = self._marks()
        self._chunk_ids, self._piece_ids = _IdsOfNames(), _IdsOfNames()
        self._chunk_ids.numbers([BEGINNING, BREAK, END], 3)
        self._chunk_ids.unknown()
        self._chunk_ids.add_each([before, self._of_chunk.encode(f" {BREAK}").ids, after])
        self._piece_ids.numbers([BREAK], 1)
        self._piece_ids.unknown()
        self._piece_ids.add_each([[]])
        self._characters = 0

    def _marks(self) -> tuple[list[int], list[int]]:
        """The ids before and after those of a text."""
        ids, within = self._backend.encode("a").ids, self._of_chunk.encode(" a").ids
        before = next(n for n in range(len(ids)) if ids[n : n + len(within)] == within)
        return ids[:before], ids[before + len(within) :]


class _IdsOfNames:
    """The ids of strings, which get numbers in the order in which they are asked for."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._ids = self._starts = self._lengths = np.zeros(0, dtype=np.int64)

    def numbers(self, names: Iterable[str], count: int) -> Array:
        """The number of each of so many names."""
        return np.fromiter(map(self._numbers.__getitem__, names), np.int64, count=count)

    def unknown(self) -> list[str]:
        """The names that were asked for and have no ids yet: `add` them next, in this order."""
        new, self._numbers.new = self._numbers.new, []
        return new

    def add(self, ids: Array, lengths: Array) -> None:
        """The ids of further names, one after the other, and how many each has."""
        self._starts = np.append(self._starts, len(self._ids) + np.cumsum(lengths) - lengths)
        self._lengths = np.append(self._lengths, lengths)
        self._ids = np.append(self._ids, ids)

    def add_each(self, ids: Sequence[Sequence[int]]) -> None:
        """The same, name by name."""
        lengths = np.array([len(of_name) for of_name in ids], dtype=np.int64)
        self.add(np.fromiter(chain.from_iterable(ids), np.int64), lengths)

    def of(self, numbers: Array) -> tuple[Array, Array]:
        """The ids of names, one after the other, and how many each has."""
        lengths = self._lengths[numbers]
        # Those of a name stand together: counted from their place here, less all that come before them in the answer.
        places = np.repeat(self._starts[numbers] - (np.cumsum(lengths) - lengths), lengths)
        places += np.arange(len(places))
        return self._ids[places], lengths


class _Numbers(dict[str, int]):
    """Gives what it is asked for the first time the next number, and notes it in `new`."""

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.new.append(key)
        return number
