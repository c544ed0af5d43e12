"""Files of rows: the same rows from every format, nothing re-interpreted, every defect one clear error."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from nlptl.data.datasets import load_rows
from nlptl.data.sources import locate
from nlptl.data.tables import CHUNK_ROWS, open_table
from nlptl.errors import DataError

ROWS = [("a fine film", "pos"), ('she said "no", twice\nand left', "neg"), ("café naïve 电影", "pos")]


def read(path: Path) -> list[dict[str, Any]]:
    dataset, _ = load_rows(str(path), labels="required")
    return list(dataset)


def write_csv(path: Path, delimiter: str = ",") -> bytes:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([("text", "label"), *ROWS])
    return path.read_bytes()


def compress_zstd(content: bytes, path: Path) -> None:
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(content)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, ending: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    table = pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    objects = [{"text": text, "label": label} for text, label in ROWS]
    if suffix in (".csv", ".tsv"):
        write_csv(path, "," if suffix == ".csv" else "\t")
    elif suffix == ".json":
        path.write_text(json.dumps(objects, indent=1), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    if ending == ".gz":
        (tmp_path / f"reviews{suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
    elif ending == ".zst":
        compress_zstd(path.read_bytes(), tmp_path / f"reviews{suffix}.zst")

    rows = read(tmp_path / f"reviews{suffix}{ending}")

    assert rows == [{"row": index, "text": text, "label": label} for index, (text, label) in enumerate(ROWS)]


def test_a_json_file_may_hold_lines_and_an_arrow_file_a_stream(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "x", "label": 1}\n\n{"text": "y", "label": 2}\n')
    table = pa.table({"text": ["x", "y"], "label": [1, 2]})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert [row["label"] for row in read(tmp_path / "a.json")] == ["1", "2"]
    assert [row["label"] for row in read(tmp_path / "a.arrow")] == ["1", "2"]


def test_csv_values_stay_the_strings_that_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nNA,01\r\nnull,1\r\nNone,1.0\r\n1e5,true\r\n")
    assert [(row["text"], row["label"]) for row in read(path)] == [
        ("NA", "01"),
        ("null", "1"),
        ("None", "1.0"),
        ("1e5", "true"),
    ]


def test_a_book_fits_in_one_csv_field(tmp_path: Path) -> None:
    book = "word " * 60_000
    (tmp_path / "a.csv").write_text(f'text,label\n"{book}",a\nshort,b\n')
    assert read(tmp_path / "a.csv")[0]["text"] == book


def test_bare_quotes_of_a_tsv_file_are_text_and_swallow_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"open he said\t1\nplain\t0\nthe end" she said\t1\n"whole"\t0\n')
    assert [row["text"] for row in read(path)] == ['"open he said', "plain", 'the end" she said', '"whole"']


def test_long_files_come_in_chunks_and_keep_their_order(tmp_path: Path) -> None:
    count = 2 * CHUNK_ROWS + 5
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "t{i}", "label": "a"}}\n' for i in range(count)))
    chunks = list(open_table(tmp_path / "a.jsonl").chunks(["text"]))
    assert [len(chunk["text"]) for chunk in chunks] == [CHUNK_ROWS, CHUNK_ROWS, 5]
    rows = read(tmp_path / "a.jsonl")
    assert [row["row"] for row in rows] == list(range(count))
    assert rows[-1]["text"] == f"t{count - 1}"


def test_a_key_that_only_later_lines_have_is_found(tmp_path: Path) -> None:
    lines = ['{"text": "x"}'] * (CHUNK_ROWS + 1) + ['{"text": "y", "label": "b"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    dataset, notes = load_rows(str(tmp_path / "a.jsonl"), labels="required")
    assert dataset[:] == {"row": [CHUNK_ROWS + 1], "text": ["y"], "label": ["b"]}
    assert f"{CHUNK_ROWS + 1:,} rows" in notes[0]


def test_class_numbers_get_the_names_that_a_parquet_file_carries(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, 0, -1]}, features=features).to_parquet(
        str(tmp_path / "a.parquet")
    )
    dataset, notes = load_rows(str(tmp_path / "a.parquet"), labels="required")
    assert dataset["label"][:] == ["neg", "pos"]
    assert "missing label: 1 row" in notes[0]


DEFECTS: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "the file is empty"),
    "blank.jsonl": (b"\n \n", "the file is empty"),
    "header.csv": (b"text,label\n", "there are no data rows"),
    "none.json": (b"[]", "no column is plainly the text|no data rows"),
    "ragged.csv": (b"text,label\nx,1\ny,z,2\n", "line 3 has 3 fields where the header has 2"),
    "twice.csv": (b"text,label,text\nx,1,y\n", "two columns are named 'text'"),
    "unclosed.csv": (b'text,label\n"x,1\ny,2\n', "line 2 cannot be read"),
    "latin.csv": (
        b"text,label\ncaf\xe9,1\n",
        "not UTF-8 at line 2, byte 4 of the line, it looks like Windows-1252",
    ),
    "wide.csv": ("text,label\nx,1\n".encode("utf-16"), "it looks like UTF-16"),
    "broken.jsonl": (b'{"text": "x", "label": 1}\n{"text": \n', "line 2 is broken JSON"),
    "broken.json": (b'[{"text": "x", "label": 1},\n{"text" "y"}]', "line 2 is broken JSON"),
    "list.jsonl": (b'{"text": "x", "label": 1}\n"y"\n', "line 2 is no JSON object"),
    "half.jsonl": (b'{"text": "\\ud83d", "label": 1}\n', "line 1 holds half a character"),
    "number.jsonl": (
        b'{"text": "x", "label": 1}\n{"text": 5, "label": 1}\n',
        "the text is of type int, not a string",
    ),
    "damaged.parquet": (b"PAR1 and no more", "truncated, damaged"),
    "damaged.arrow": (b"ARROW1 and no more", "truncated, damaged"),
    "damaged.csv.gz": (gzip.compress(b"text,label\n" + b"x,1\n" * 999)[:-9], "truncated, damaged"),
    "other.xlsx": (b"PK", "'.xlsx' is not a format"),
    "semicolon.csv": (b"text;label\nx;1\n", "parted by another character"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_one_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    content, message = DEFECTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"] * 1000, "label": ["a"] * 1000}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        read(tmp_path / "a.parquet")


def test_text_that_is_not_utf8_within_parquet_is_an_error(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw, "label": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not UTF-8, in rows 0 to 1"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("how", ["shrinks", "grows", "is replaced"])
def test_a_file_that_changes_while_it_is_read_is_an_error(how: str, suffix: str, tmp_path: Path) -> None:
    """Not half the rows that pass for all of them, nor the end of the process, as of a mapped file that shrinks."""
    path = tmp_path / f"rows{suffix}"
    rows = {"text": [f"review {number} of a film" for number in range(20_000)]}
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), path, row_group_size=4000)
    elif suffix == ".arrow":
        with pa.ipc.new_file(str(path), pa.table(rows).schema) as writer:
            writer.write_table(pa.table(rows), max_chunksize=4000)
    else:
        lines = rows["text"] if suffix == ".csv" else [json.dumps({"text": text}) for text in rows["text"]]
        path.write_text("\n".join(["text"] * (suffix == ".csv") + lines) + "\n", encoding="utf-8")
    chunks = open_table(path).chunks(["text"])
    next(chunks)
    if how == "shrinks":
        os.truncate(path, path.read_bytes().rindex(b"\n", 0, path.stat().st_size * 3 // 4) + 1)
    elif how == "grows":
        with path.open("ab") as file:
            file.write(b'{"text": "one more"}\n')
    else:
        (tmp_path / "new").write_bytes(path.read_bytes())
        os.replace(tmp_path / "new", path)
    with pytest.raises(DataError, match=f"rows{suffix}"):
        list(chunks)


def test_a_split_is_of_the_file_that_was_located(tmp_path: Path) -> None:
    """Rows that are counted first and read then are those that were counted."""
    path = tmp_path / "rows.csv"
    path.write_text("text\na\nb\n", encoding="utf-8")
    split = locate(str(path))["train"]
    assert [list(table.chunks(["text"])) for table in split.tables()] == [[{"text": ["a", "b"]}]]
    path.write_text("text\na\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"the file has changed while it was read, in .*rows\.csv; run again"):
        next(split.tables())
