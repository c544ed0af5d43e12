"""Which column is the text and which the label, and what counts as a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlptl.data.datasets import Columns, load_rows, read_splits
from nlptl.errors import DataError


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("row", "text", "label"),
    [
        ({"id": "7", "text": "x", "label": "a"}, "x", "a"),
        ({"Text": "x", "Label": "a", "id": "7"}, "x", "a"),
        ({"sentence": "x", "title": "t", "category": "a"}, "x", "a"),
        ({"body": "x", "target": "a"}, "x", "a"),
        ({"body": "x", "stars": 4}, "x", "4"),
        ({"text": "x", "content": "y", "label": "a", "class": "b"}, "x", "a"),
    ],
)
def test_plain_columns_are_found(tmp_path: Path, row: dict[str, Any], text: str, label: str) -> None:
    dataset, _ = load_rows(write(tmp_path / "a.jsonl", row), labels="required")
    assert dataset[:] == {"row": [0], "text": [text], "label": [label]}


def test_a_guessed_column_is_said(tmp_path: Path) -> None:
    _, notes = load_rows(write(tmp_path / "a.jsonl", {"body": "x", "stars": 4}), labels="required")
    assert any("'body'" in note and "text" in note for note in notes)
    assert any("'stars'" in note and "label" in note for note in notes)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": "x", "body": "y", "label": "a"}, "could be 'title' or 'body'"),
        ({"sentence": "x", "question": "y", "label": "a"}, "could be 'sentence' or 'question'"),
        ({"text": "x", "class": "a", "category": "b"}, "could be 'class' or 'category'"),
        ({"text": "x"}, "no column is plainly the label.*--label-column"),
    ],
)
def test_what_is_ambiguous_is_an_error_that_lists_the_columns(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_rows(write(tmp_path / "a.jsonl", row), labels="required")
    assert all(repr(name) in str(caught.value) for name in row)


def test_an_absent_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"text": "x", "label": "a", "id": 1})
    with pytest.raises(
        DataError, match=r"no column named 'txt', in .*a.jsonl; it has 'text', 'label', 'id'.*mean 'text'"
    ):
        load_rows(source, columns=Columns(text="txt"), labels="required")


def test_named_columns_win_and_pairs_are_read(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl",
        {"text": "no", "premise": "x", "hypothesis": "y", "gold": "yes"},
        {"text": "no", "premise": "z", "hypothesis": None, "gold": "no"},
    )
    columns = Columns(text="premise", text_pair="hypothesis", label="gold")
    dataset, notes = load_rows(source, columns=columns, labels="required")
    assert dataset[:] == {"row": [0, 1], "text": ["x", "z"], "text_pair": ["y", ""], "label": ["yes", "no"]}
    assert "empty second text: 1 row" in notes[0]


def test_one_column_has_one_purpose(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"text": "x", "label": "a"})
    with pytest.raises(DataError, match="two purposes"):
        load_rows(source, columns=Columns(text="text", label="text"), labels="required")


def test_a_row_id_does_not_become_the_label_where_none_is_needed(tmp_path: Path) -> None:
    dataset, _ = load_rows(write(tmp_path / "a.jsonl", {"text": "x", "id": "7"}), labels="optional")
    assert dataset.column_names == ["row", "text"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a", "b"], ["a", "b"]),
        ([1, 2], ["1", "2"]),
        ([1.0, None, 0.0], ["1", "0"]),
        ([float("nan"), 3.0], ["3"]),
        ([True, False], ["true", "false"]),
        ([["a", "b"], [], None, [1]], [["a", "b"], [], ["1"]]),
    ],
)
def test_labels_become_strings(tmp_path: Path, values: list[Any], names: list[Any]) -> None:
    source = write(tmp_path / "a.jsonl", *({"text": "x", "label": value} for value in values))
    read = read_splits(source)
    assert read.splits["train"]["label"][:] == names
    assert read.multi_label is isinstance(names[0], list)


def test_categories_and_large_strings_of_arrow_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["x", "y"], pa.large_string()),
            "label": pa.array(["b", "a"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    dataset, _ = load_rows(str(tmp_path / "a.parquet"), labels="required")
    assert dataset[:] == {"row": [0, 1], "text": ["x", "y"], "label": ["b", "a"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 0.5], "label 0.5 is no whole number.*'label' of row 1"),
        (["a", ["b"]], "some labels are lists and others are not.*row 1"),
        ([{"a": 1}], "a label is a dict"),
        ([[0, 1, 0]], "names one twice"),
    ],
)
def test_what_is_no_label_is_named_by_its_row(tmp_path: Path, values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_splits(write(tmp_path / "a.jsonl", *({"text": "x", "label": value} for value in values)))
