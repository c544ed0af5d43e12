"""Rows of any strings read back equal from every format, or are refused in one line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlptl.data.datasets import load_rows
from nlptl.errors import DataError
from tests.bad_input.drawing import drawn, odd_texts
from tests.bad_input.tally import Tally

Rows = list[tuple[str, str]]


def delimited(delimiter: str) -> Callable[[Rows], bytes]:
    def write(rows: Rows) -> bytes:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
        return file.getvalue().encode("utf-8", "surrogatepass")

    return write


def json_lines(rows: Rows) -> bytes:
    return "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows).encode()


def array(rows: Rows) -> bytes:
    objects = [{"text": text, "label": label} for text, label in rows]
    return json.dumps(objects, ensure_ascii=False).encode("utf-8", "surrogatepass")


def table(rows: Rows) -> pa.Table:
    """With the bytes of lone surrogates too, which Arrow does not look at."""
    columns = [
        [value.encode("utf-8", "surrogatepass") for value in column] for column in zip(*rows, strict=True)
    ]
    return pa.table(
        [pa.array(column, pa.binary()).view(pa.string()) for column in columns], ["text", "label"]
    )


def parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows), sink)
    return bytes(sink.getvalue())


def arrow(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table(rows).schema) as writer:
        writer.write_table(table(rows))
    return bytes(sink.getvalue())


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    ".csv": delimited(","),
    ".tsv": delimited("\t"),
    ".jsonl": json_lines,
    ".json": array,
    ".parquet": parquet,
    ".arrow": arrow,
}


def storable(value: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_read_back_equal_or_are_refused(
    suffix: str, tally: Tally, examples: int, tmp_path: Path
) -> None:
    texts = odd_texts()
    if (
        suffix == ".tsv"
    ):  # whose quotation marks may be text: a line break beside a tab cannot be told from a row's end
        texts = texts.map(lambda text: text.replace("\t", " ").replace("\n", " ").replace("\r", " "))

    @drawn(examples)
    @given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.booleans())
    def check(rows: Rows, compressed: bool) -> None:
        content = FORMATS[suffix](rows)
        path = tmp_path / f"rows{suffix}{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)
        found = tally.outcome(lambda: load_rows(str(path), labels="required"))
        expected = [(text, label) for text, label in rows if text.strip() and label.strip()]
        if isinstance(found, DataError):
            is_whole = all(storable(value) for row in rows for value in row)
            assert not expected or not is_whole, found
        else:
            assert not isinstance(found, Exception)
            dataset, notes = found
            assert [(row["text"], row["label"]) for row in dataset] == expected
            left_out = len(rows) - len(expected)
            assert not left_out or "left out" in " ".join(notes)

    check()


@pytest.mark.parametrize("suffix", FORMATS)
def test_any_bytes_under_any_suffix(suffix: str, tally: Tally, examples: int, tmp_path: Path) -> None:
    """Damage to a good file: cut short, or some bytes of it changed."""
    good = FORMATS[suffix]([("a fine film", "pos"), ("a\ndull one", "neg"), ("naïve", "pos")])

    @drawn(examples)
    @given(
        st.integers(0, len(good)),
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4),
    )
    def check(length: int, changes: list[tuple[int, int]]) -> None:
        content = bytearray(good)
        for place, byte in changes:
            content[place] = byte
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(content[:length])
        found = tally.outcome(lambda: load_rows(str(path), labels="required"))
        assert isinstance(found, (DataError, tuple))

    check()
