"""Raw text to windows: streamed into a file, cut so that every token is read in order, once, in either direction."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlptl.data import corpora, parallel_encoding
from nlptl.data.corpora import (
    TokenCorpus,
    split_held_out,
    tokenise_corpus,
)
from nlptl.data.lm_text import find_lm_text
from nlptl.errors import DataError
from nlptl.training.windows import CorpusEncoder


def encode(batch: list[str]) -> list[list[int]]:
    """One id a character."""
    return [[ord(letter) for letter in text] for text in batch]


def corpus(tokens: int) -> TokenCorpus:
    return TokenCorpus(ids=np.arange(tokens, dtype=np.uint16), texts=1, characters=tokens)


# --- tokenising


def test_ids_are_on_disk_one_text_after_the_other(tmp_path: Path) -> None:
    found = tokenise_corpus(["abc", "", "de"], CorpusEncoder(encode, 200), tmp_path / "corpus")
    assert isinstance(found.ids, np.memmap)
    assert found.ids.tolist() == [97, 98, 99, 100, 101]
    assert (found.texts, found.characters) == (3, 5)
    counts = found.counts(200, unknown=0)
    assert counts.sum() == 5
    assert counts[97:102].tolist() == [1] * 5
    assert len(counts) == 200


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst", ".jsonl.gz", ".parquet"])
def test_memory_does_not_grow_with_the_corpus(suffix: str, tmp_path: Path) -> None:
    """Shards are read, decompressed and tokenised in pieces: eight of them take what one takes."""
    peaks = []
    for shards in (1, 8):
        folder = tmp_path / str(shards)
        folder.mkdir()
        for number in range(shards):
            write_shard(folder / f"part-{number}{suffix}", "a line of some text " * 10, 5000)
        encoder = CorpusEncoder(lambda batch: [[1] * (len(text) // 4) for text in batch], 200)
        tracemalloc.start()
        found = tokenise_corpus(find_lm_text([str(folder)]), encoder, tmp_path / f"corpus-{shards}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.texts == 5000 * shards
    assert peaks[1] < peaks[0] + 500_000  # of a corpus of 8 MB


def write_shard(file: Path, text: str, rows: int) -> None:
    if file.suffix == ".parquet":
        pq.write_table(pa.table({"text": [text] * rows}), file, row_group_size=1000)
        return
    line = json.dumps({"text": text}) if ".jsonl" in file.name else text
    content = f"{line}\n".encode() * rows
    if file.suffix == ".zst":
        with pa.output_stream(str(file), compression="zstd") as stream:
            stream.write(content)
    else:
        file.write_bytes(gzip.compress(content, 1) if file.suffix == ".gz" else content)


def test_tokens_beyond_the_vocabulary_keep_their_spelling(tmp_path: Path) -> None:
    """Their numbers go on where the vocabulary ends, and they count as the unknown token."""
    spellings: list[str] = []

    def encode_words(batch: list[str]) -> list[list[int]]:
        rows = []
        for text in batch:
            for word in text.split():
                if word not in ("a", "b") and word not in spellings:
                    spellings.append(word)
            rows.append(
                [("a", "b").index(w) if w in ("a", "b") else 3 + spellings.index(w) for w in text.split()]
            )
        return rows

    encoder = CorpusEncoder(encode_words, 3, spellings, unknown=2)
    for _ in range(2):  # made, and opened again
        found = tokenise_corpus(["a rare b", "rarer a rare"], encoder, tmp_path / "corpus")
        assert found.ids.tolist() == [0, 3, 1, 4, 0, 3]
        assert list(found.spellings) == ["rare", "rarer"]
        assert found.counts(3, unknown=2).tolist() == [2, 1, 3]
        assert found.beginning(2).ids.tolist() == [0, 3]


@pytest.mark.parametrize(("vocab_size", "kind"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_the_largest_id_fits_and_no_id_takes_more_than_it_needs(
    vocab_size: int, kind: type[np.generic], tmp_path: Path
) -> None:
    found = tokenise_corpus(
        ["x"], CorpusEncoder(lambda batch: [[vocab_size - 1]], vocab_size), tmp_path / "corpus"
    )
    assert found.ids.dtype == kind
    assert found.ids.tolist() == [vocab_size - 1]


def test_texts_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "TEXTS_AT_A_TIME", 4)
    monkeypatch.setattr(corpora, "CHARACTERS_AT_A_TIME", 50)
    taken = done = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(30):
            taken += 1
            assert taken - done <= 4, "more texts are held than a batch of them"
            yield "x" * (60 if number == 20 else 5)

    def watched(batch: list[str]) -> list[list[int]]:
        nonlocal done
        done += len(batch)
        return encode(batch)

    told: list[tuple[int, int]] = []
    found = tokenise_corpus(
        texts(), CorpusEncoder(watched, 200), tmp_path / "corpus", lambda *figures: told.append(figures)
    )
    assert (found.texts, len(found.ids)) == (30, 29 * 5 + 60)
    assert told[-1] == (30, 29 * 5 + 60)
    assert (21, 160) in told, "a long text ends its batch"


def test_a_complete_folder_is_opened_and_the_texts_are_not_read(tmp_path: Path) -> None:
    first = tokenise_corpus(["abc"], CorpusEncoder(encode, 200), tmp_path / "corpus")

    def never() -> Iterator[str]:
        raise AssertionError("the texts were read again")
        yield ""

    again = tokenise_corpus(never(), CorpusEncoder(encode, 200), tmp_path / "corpus")
    assert again.ids.tolist() == first.ids.tolist()


def test_a_tokenisation_cut_off_leaves_nothing_and_is_done_anew(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "abc"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenise_corpus(broken(), CorpusEncoder(encode, 200), tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "ids.bin").write_bytes(b"half")  # no corpus.json: not whole
    assert tokenise_corpus(["de"], CorpusEncoder(encode, 200), tmp_path / "corpus").ids.tolist() == [100, 101]
    facts = json.loads((tmp_path / "corpus" / "corpus.json").read_text(encoding="utf-8"))
    assert facts["tokens"] == 2


def test_text_without_a_token_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        tokenise_corpus(["", ""], CorpusEncoder(encode, 200), tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


# --- held-out text


@pytest.mark.parametrize("count", [20, 39, 100])
def test_held_out_texts_are_a_twentieth_and_never_trained_on(count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    train, held_out = list(split_held_out(texts, held_out=False)), list(split_held_out(texts, held_out=True))
    assert len(held_out) == count // 20
    assert sorted(train + held_out) == sorted(texts)
    assert train == list(split_held_out(iter(texts), held_out=False))


def test_of_few_texts_the_end_of_each_is_held_out() -> None:
    texts = ["x" * 95 + "abcde" * 2, "y" * 20 + "zz"]
    train, held_out = list(split_held_out(texts, held_out=False)), list(split_held_out(texts, held_out=True))
    assert held_out == ["abcde" * 2, "zz"]
    assert [a + b for a, b in zip(train, held_out, strict=True)] == texts


def test_splitting_never_lists_the_texts() -> None:
    def endless() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield str(number)

    assert [next(texts) for texts in [split_held_out(endless(), held_out=True)] for _ in range(3)] == [
        "20",
        "40",
        "60",
    ]


# --- windows


def test_a_tokenizer_in_python_runs_in_several_processes_and_its_ids_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_encoding, "_cores", lambda: 2)
    monkeypatch.setattr(corpora, "TEXTS_AT_A_TIME", 3)

    def encode(batch: list[str]) -> list[list[int]]:
        threads = os.environ.get("TOKENIZERS_PARALLELISM") != "false"  # which a fork leaves behind
        return [[len(text), os.getpid() % 2**16, threads] for text in batch]

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    texts = ["x" * number for number in range(40)]
    found = tokenise_corpus(texts, CorpusEncoder(encode, 2**16, in_python=True), tmp_path / "corpus")
    assert found.ids[::3].tolist() == list(range(40))
    assert os.getpid() % 2**16 not in found.ids[1::3]
    assert not found.ids[2::3].any()
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_what_a_worker_finds_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_encoding, "_cores", lambda: 2)
    monkeypatch.setattr(corpora, "TEXTS_AT_A_TIME", 1)

    def refuse(batch: list[str]) -> list[list[int]]:
        raise DataError("no words", batch[0], "give words")

    with pytest.raises(DataError, match="no words"):
        tokenise_corpus(["a", "b"], CorpusEncoder(refuse, 9, in_python=True), tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
