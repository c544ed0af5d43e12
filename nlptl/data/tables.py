"""One file of rows, whatever its format, as columns read chunk by chunk in constant memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from nlptl.data.delimited import read_delimited
from nlptl.data.json_rows import read_json_rows
from nlptl.data.names import TABULAR_SUFFIXES, format_and_codec
from nlptl.data.streams import damage_named, open_bytes
from nlptl.data.unchanged import Mark, file_mark, unchanged
from nlptl.errors import DataError

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 1 << 24  # long documents: a chunk is cut by its size too

Values: TypeAlias = "pa.Array | list[Any]"
Chunk = dict[str, Values]


@dataclass(frozen=True)
class RawTable:
    """Rows before any column has been given a meaning.

    Attributes:
        place: how errors name it.
        names: its columns, in order.
        text_names: those whose values are strings.
        class_names: for a column of class numbers that carries their names, these in order.
        chunks: the named columns, a few thousand rows at a time, each column of equal length.
    """

    place: str
    names: list[str]
    text_names: list[str]
    chunks: Callable[[Sequence[str]], Iterator[Chunk]]
    class_names: dict[str, list[str]] = field(default_factory=dict)


def open_table(path: Path, since: Mark | None = None) -> RawTable:
    """Opens a file by its suffix, one of TABULAR_SUFFIXES, with `.gz` or `.zst` after it where compressed.

    Args:
        since: its mark when it was first looked at, which it must still have.

    Raises:
        DataError: another suffix, or the file is empty, damaged, not what its suffix says, or changes; reading the
            chunks may raise it too.
    """
    suffix = format_and_codec(path)[0]
    since = since or file_mark(path)
    with damage_named(path), unchanged(path, since):
        if suffix in (".csv", ".tsv"):
            table = row_table(str(path), *read_delimited(path, "\t" if suffix == ".tsv" else ","))
        elif suffix in (".json", ".jsonl"):
            table = row_table(str(path), *read_json_rows(path))
        elif suffix in (".parquet", ".arrow"):
            table = _columnar_table(path, suffix)
        else:
            raise DataError(
                f"'{suffix or path.name}' is not a format of labelled text",
                f"in {path}",
                f"use one of {', '.join(TABULAR_SUFFIXES)}, also with .gz or .zst",
            )
    if not table.names:
        raise DataError("there are no data rows", f"in {path}", "it needs at least one")
    if any("\0" in name for name in table.names):
        cause = "its column names hold NUL characters, as UTF-16 without a byte order mark does"
        raise DataError(cause, f"in {path}", "re-encode it: iconv -f UTF-16LE -t UTF-8")
    twice = [name for name, count in Counter(table.names).items() if count > 1 and name]
    if twice:
        raise DataError(f"two columns are named {twice[0]!r}", f"in {path}", "rename one of them")

    def chunks(wanted: Sequence[str]) -> Iterator[Chunk]:
        with unchanged(path, since):
            yield from table.chunks(wanted)

    return replace(table, chunks=chunks)


def row_table(
    place: str,
    names: list[str],
    text_names: list[str],
    rows: Callable[[Sequence[str]], Iterable[list[Any]]],
) -> RawTable:
    """A table of what comes row by row: `rows(wanted)` gives the wanted values of each."""

    def chunks(wanted: Sequence[str]) -> Iterator[Chunk]:
        batch: list[list[Any]] = []
        characters = 0
        for row in rows(wanted):
            batch.append(row)
            characters += sum(len(value) for value in row if isinstance(value, str))
            if len(batch) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
                yield _columns(wanted, batch)
                batch, characters = [], 0
        if batch:
            yield _columns(wanted, batch)

    return RawTable(place, names, text_names, chunks)


def _columns(wanted: Sequence[str], rows: list[list[Any]]) -> Chunk:
    return {name: list(values) for name, values in zip(wanted, zip(*rows, strict=True), strict=True)}


def _columnar_table(path: Path, suffix: str) -> RawTable:
    # Both formats seek, which a compressed stream cannot: such a file is decompressed into memory.
    compressed = format_and_codec(path)[1] is not None

    def open_source() -> pa.NativeFile:
        if not compressed:
            return pa.OSFile(
                str(path)
            )  # not mapped: of a mapped file that is cut short the process would die
        with open_bytes(path) as stream:
            return pa.BufferReader(stream.read())

    def batches(wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        source = open_source()
        if suffix == ".parquet":
            # Pre-buffering would hold a whole row group, which may be the whole file.
            yield from pq.ParquetFile(source, pre_buffer=False).iter_batches(1024, columns=list(wanted))
        else:
            for batch in _arrow_batches(source):
                for start in range(0, batch.num_rows, CHUNK_ROWS):
                    yield batch.slice(start, CHUNK_ROWS)

    def chunks(wanted: Sequence[str]) -> Iterator[Chunk]:
        with damage_named(path):
            for batch in batches(wanted):
                yield {name: batch.column(name) for name in wanted}

    source = open_source()
    schema = pq.read_schema(source) if suffix == ".parquet" else _arrow_reader(source).schema
    return RawTable(
        place=str(path),
        names=list(schema.names),
        text_names=[item.name for item in schema if _is_text(item.type)],
        chunks=chunks,
        class_names=_class_names(schema),
    )


def _arrow_reader(source: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:  # Arrow's stream format, in which Hugging Face datasets keeps its cache
        source.seek(0)
        return pa.ipc.open_stream(source)


def _arrow_batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = _arrow_reader(source)
    if isinstance(reader, pa.RecordBatchFileReader):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of class numbers, as Hugging Face datasets writes them into a file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {}
        for column, feature in features.items():
            names = (feature.get("feature") or feature).get("names")
            if isinstance(names, list):
                found[column] = [str(name) for name in names]
        return found
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}  # no such metadata, or not of this form: the numbers stand for themselves
