"""Files of features: labels of any kind travel in each of the formats, and a file appears whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from nlptl.commands.features import arrays, files, tables
from nlptl.commands.features.files import FeatureRow, check_room, feature_file, file_bytes, size_in_words
from nlptl.errors import RunFailed, UsageError

FACTS = {"model": "runs/lm", "layers": "last"}
SUFFIXES = pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors", ".hdf5"])


def write(file: Path, labels: list[Any], kind: pa.DataType | None) -> None:
    """A row for each label, whose one feature is its number."""
    with feature_file(file, kind, FACTS) as put:
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
    with pytest.raises(KeyboardInterrupt), feature_file(file, pa.string(), FACTS) as put:  # noqa: PT012
        put(FeatureRow(0, "new", np.ones(1, dtype=np.float32)))
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def write_vectors(file: Path, vectors: np.ndarray) -> None:
    with feature_file(file, pa.string(), FACTS) as put:
        for number, vector in enumerate(vectors):
            put(FeatureRow(number, "good", vector))


def random_rows(lengths: list[int], width: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.standard_normal((length, width)).astype(np.float32) for length in lengths]


def test_tokens_of_many_rows_are_the_same_in_parquet_whatever_its_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows([3, 0, 1, 7, 0, 0, 2], 5)
    for values in (1, 16, 10**6):
        monkeypatch.setattr(tables, "GROUP_VALUES", values)
        with feature_file(tmp_path / "f.parquet", None, {"level": "token"}) as put:
            for number, vectors in enumerate(rows):
                put(FeatureRow(number, None, vectors))
        table = pq.read_table(tmp_path / "f.parquet")
        assert table.schema.field("features").type == pa.list_(pa.list_(pa.float32()))
        found = [np.array(item, dtype=np.float32).reshape(-1, 5) for item in table["features"].to_pylist()]
        for before, after in zip(rows, found, strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("level", ["text", "token"])
def test_parquet_has_one_schema_with_and_without_rows(level: str, tmp_path: Path) -> None:
    for name, lengths in (("none", []), ("some", [2])):
        with feature_file(tmp_path / f"{name}.parquet", pa.string(), {"level": level}) as put:
            for vectors in random_rows(lengths, 4):
                put(FeatureRow(0, None, vectors if level == "token" else vectors[0]))
    assert pq.read_schema(tmp_path / "none.parquet").equals(pq.read_schema(tmp_path / "some.parquet"), True)


@pytest.mark.parametrize("width", [1, 50, 3072])
def test_an_npy_file_may_be_mapped_and_has_no_more_than_its_header_beside_its_numbers(
    width: int, tmp_path: Path
) -> None:
    (rows,) = random_rows([300], width)
    with feature_file(tmp_path / "f.npy", None, FACTS) as put:
        for number, vector in enumerate(rows):
            put(FeatureRow(number, None, vector))
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy", mmap_mode="r"), rows)
    assert (tmp_path / "f.npy").stat().st_size == 128 + rows.nbytes


@pytest.mark.parametrize("moment", [1, 2])
def test_an_array_never_stands_beside_the_description_of_another(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that replaces an older one ends at each of its two renames."""
    path, renames = tmp_path / "f.npy", []

    def replace(made: Path, name: Path) -> None:
        renames.append(name)
        if len(renames) == moment:
            raise KeyboardInterrupt
        os.rename(made, name)

    with feature_file(path, None, FACTS) as put:
        put(FeatureRow(0, None, np.zeros(4, dtype=np.float32)))
    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt), feature_file(path, None, {**FACTS, "model": "another"}) as put:
        put(FeatureRow(0, None, np.ones(4, dtype=np.float32)))
    assert not path.exists()  # what is left says of itself that it is not whole


@pytest.mark.parametrize("level", ["text", "token"])
def test_safetensors_are_read_by_torch_too(level: str, tmp_path: Path) -> None:
    rows = random_rows([1, 0, 3], 7) if level == "token" else random_rows([3], 7)[0]
    with feature_file(tmp_path / "f.safetensors", pa.string(), {"level": level}) as put:
        for number, vectors in enumerate(rows):
            put(FeatureRow(number, "caf\u00e9", vectors))
    tensors = load_file(tmp_path / "f.safetensors")
    assert tensors.pop("row").tolist() == [0, 1, 2]
    if level == "text":
        tensors = dict(zip("012", tensors["features"], strict=True))
    for number, vectors in enumerate(rows):
        assert torch.equal(tensors[str(number)], torch.from_numpy(vectors))
    assert read_labels(tmp_path / "f.safetensors") == ["caf\u00e9"] * 3


def test_too_many_rows_for_the_header_of_safetensors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "HEADER_BYTES", 1000)
    with pytest.raises(RunFailed, match="do not fit the header"):
        write(tmp_path / "f.safetensors", ["label"] * 200, pa.string())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(files, "MOST_TENSORS", 10)
    with pytest.raises(UsageError, match=r"holds at most 10, 11 rows; write \.parquet"):
        check_room(tmp_path / "f.safetensors", 8, 11, "token")
    check_room(tmp_path / "f.safetensors", 8, 11, "text")  # which is one tensor


def test_a_row_is_found_by_its_sentence_as_in_a_file_of_allennlp(tmp_path: Path) -> None:
    sentences = ["a / b", "the film", "a / b"]
    with feature_file(tmp_path / "f.hdf5", None, FACTS) as put:
        for number, sentence in enumerate(sentences):
            put(FeatureRow(number, None, np.full((3, 2, 4), number, dtype=np.float32), sentence))
    with h5py.File(tmp_path / "f.hdf5") as stored:
        places = json.loads(stored["sentence_to_index"][0])
        assert places == {"a / b": "2", "the film": "1"}  # of equal ones the last
        assert stored[places["a / b"]][()].tolist() == np.full((3, 2, 4), 2.0).tolist()
        assert set(stored) == {"0", "1", "2", "sentence_to_index"}  # readers take their number less one


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may become larger than 20 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors"])
@pytest.mark.parametrize("rows", [30, 3000])  # a failure on the last write, and one in the middle
def test_what_the_system_does_not_take_is_told_and_leaves_nothing(
    rows: int, suffix: str, tmp_path: Path
) -> None:
    said = r"cannot be written \(.*ile too large\), .*/f\.\w+; make room"
    with pytest.raises(RunFailed, match=said):
        write_vectors(tmp_path / f"f{suffix}", random_rows([rows], 256)[0])
    assert list(tmp_path.iterdir()) == []


def test_hdf5_stops_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([2**30, 2**20])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, next(free)))
    with pytest.raises(RunFailed, match="No space left"):
        write(tmp_path / "f.hdf5", ["a", "b"], pa.string())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("level", "suffix"),
    [
        ("text", ".npy"),
        *((level, s) for level in ("text", "token") for s in (".parquet", ".safetensors", ".hdf5")),
    ],
)
def test_the_size_is_forecast_within_a_twentieth(level: str, suffix: str, tmp_path: Path) -> None:
    rows = random_rows([12] * 400, 256)
    with feature_file(tmp_path / f"f{suffix}", pa.string(), {"level": level}) as put:
        for number, vectors in enumerate(rows):
            put(FeatureRow(number, "good", vectors if level == "token" else vectors[0]))
    forecast = file_bytes(suffix, len(rows), len(rows) * (12 if level == "token" else 1), 256)
    assert (tmp_path / f"f{suffix}").stat().st_size == pytest.approx(forecast, rel=0.05)


def test_sizes_are_said_in_three_figures_or_so() -> None:
    sizes = {
        0: "0 bytes",
        999: "999 bytes",
        1000: "1.0 kB",
        5_582_976: "5.6 MB",
        1.2e10: "12.0 GB",
        1e15: "1000.0 TB",
    }
    assert {size: size_in_words(size) for size in sizes} == sizes
