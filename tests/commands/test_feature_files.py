"""Files of features: labels of any kind travel in each of the formats, and a file appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from nlptl.commands.feature_files import FeatureRow, feature_file

FACTS = {"model": "runs/lm", "layers": "last"}
SUFFIXES = pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors", ".hdf5"])


def write(file: Path, labels: list[Any], kind: pa.DataType | None) -> None:
    """A row for each label, whose one feature is its number."""
    with feature_file(file, len(labels), kind, FACTS) as put:
        for row, label in enumerate(labels):
            put(FeatureRow(row, label, np.full(1, row, dtype=np.float32)))


def read_labels(file: Path) -> Any:
    if file.suffix == ".npy":
        return json.loads(file.with_name(f"{file.name}.json").read_text(encoding="utf-8"))["labels"]
    if file.suffix == ".parquet":
        return pq.read_table(file)["label"].to_pylist()
    if file.suffix == ".safetensors":
        with safe_open(file, "np") as stored:
            return json.loads(stored.metadata()["labels"])
    with h5py.File(file) as stored:
        found = [stored[str(row)].attrs.get("label") for row in range(len(stored))]
    return [label.tolist() if isinstance(label, np.ndarray) else label for label in found]


@SUFFIXES
def test_several_labels_of_a_text_travel(suffix: str, tmp_path: Path) -> None:
    labels = [["fast", "billig \u00e9"], [], ["cheap"]]
    write(tmp_path / f"f{suffix}", labels, pa.list_(pa.string()))
    assert read_labels(tmp_path / f"f{suffix}") == labels


@SUFFIXES
def test_labels_that_begin_late_are_kept(suffix: str, tmp_path: Path) -> None:
    # Parquet is written in groups, and the first of them has no label.
    labels = [None] * 600 + ["good"]
    write(tmp_path / f"f{suffix}", labels, pa.string())
    assert read_labels(tmp_path / f"f{suffix}") == labels


def test_many_rows_keep_their_order_in_parquet(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", [None] * 1300, None)
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["row", "features"]
    assert table["row"].to_pylist() == list(range(1300))
    assert table["features"].to_pylist() == [[float(row)] for row in range(1300)]


@SUFFIXES
def test_no_row_is_a_file_all_the_same(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / f"f{suffix}", [], None)
    assert (tmp_path / f"f{suffix}").stat().st_size > 0


@SUFFIXES
def test_a_failure_leaves_the_file_that_was_there(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"f{suffix}"
    write(file, ["old"], pa.string())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), feature_file(file, 2, pa.string(), FACTS) as put:  # noqa: PT012
        put(FeatureRow(0, "new", np.ones(1, dtype=np.float32)))
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
