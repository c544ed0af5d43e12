"""Files of features: four formats, each with what made it, each appearing whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import save_file

from nlptl.errors import RunFailed

SUFFIXES = (".parquet", ".npy", ".safetensors", ".hdf5", ".h5")
ROWS_IN_A_GROUP = 512


@dataclass(frozen=True)
class FeatureRow:
    """One row: its number, its label where there is one, and its vectors: (width,), (tokens, width) or
    (layers, tokens, width)."""

    row: int
    label: Any
    features: NDArray[np.float32]


Write = Callable[[FeatureRow], None]


@contextmanager
def feature_file(
    path: Path, rows: int, labels: pa.DataType | None, facts: Mapping[str, str]
) -> Iterator[Write]:
    """Open a file of features by its suffix; it takes its name when the block ends well.

    `.parquet` holds columns `row`, `label` and `features` and the facts in its schema's metadata; `.npy` rows x
    width, with the facts, row numbers and labels beside it in `NAME.npy.json`; `.safetensors` one tensor, or one a
    row for tokens, and the facts as metadata; `.hdf5` a data set a row named "0", "1", ..., and the facts as
    attributes.

    Args:
        rows: how many there will be.
        labels: the type of their labels; None where there are none.
        facts: which model, layers and pooling.
    """
    partial = path.with_name(f".{path.name}.partial")
    writer = {".parquet": _parquet, ".npy": _npy, ".safetensors": _safetensors}.get(path.suffix, _hdf5)
    try:
        with writer(partial, path, rows, labels, facts) as write:
            yield write
        os.replace(partial, path)
    except OSError as error:
        raise RunFailed(
            f"cannot be written ({error.strerror})", str(path), "make room, or name another"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _parquet(
    partial: Path, path: Path, rows: int, labels: pa.DataType | None, facts: Mapping[str, str]
) -> Iterator[Write]:
    writer: pq.ParquetWriter | None = None
    group: list[FeatureRow] = []

    def flush() -> None:
        nonlocal writer
        columns: dict[str, pa.Array] = {"row": pa.array([item.row for item in group], pa.int64())}
        if labels is not None:
            # Not by the values of one group, which may all be missing.
            columns["label"] = pa.array([item.label for item in group], labels)
        deep = group[0].features.ndim == 2
        kind = pa.list_(pa.list_(pa.float32())) if deep else pa.list_(pa.float32())
        columns["features"] = pa.array([item.features.tolist() for item in group], kind)
        table = pa.table(columns).replace_schema_metadata(dict(facts))
        writer = writer or pq.ParquetWriter(partial, table.schema)
        writer.write_table(table)
        group.clear()

    def write(item: FeatureRow) -> None:
        group.append(item)
        if len(group) == ROWS_IN_A_GROUP:
            flush()

    yield write
    if group:
        flush()
    if writer is not None:
        writer.close()
    else:
        empty = pa.schema({"row": pa.int64(), "features": pa.list_(pa.float32())}, metadata=dict(facts))
        pq.write_table(empty.empty_table(), partial)


@contextmanager
def _npy(
    partial: Path, path: Path, rows: int, labels: pa.DataType | None, facts: Mapping[str, str]
) -> Iterator[Write]:
    array: NDArray[np.float32] | None = None
    numbers: list[int] = []
    values: list[Any] = []

    def write(item: FeatureRow) -> None:
        nonlocal array
        if array is None:
            shape = (rows, len(item.features))
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        array[len(numbers)] = item.features
        numbers.append(item.row)
        values.append(item.label)

    yield write
    if array is None:
        with open(partial, "wb") as file:
            np.save(file, np.empty((0, 0), dtype=np.float32))
    else:
        array.flush()  # type: ignore[attr-defined]
    beside = path.with_name(path.name + ".json")
    known = None if labels is None else values
    beside_partial = partial.with_suffix(".json.partial")
    beside_partial.write_text(json.dumps({**facts, "rows": numbers, "labels": known}), encoding="utf-8")
    os.replace(beside_partial, beside)


@contextmanager
def _safetensors(
    partial: Path, path: Path, rows: int, labels: pa.DataType | None, facts: Mapping[str, str]
) -> Iterator[Write]:
    items: list[FeatureRow] = []
    yield items.append
    values = json.dumps([item.label for item in items], ensure_ascii=False)
    tensors: dict[str, NDArray[Any]] = {"row": np.array([item.row for item in items], dtype=np.int64)}
    if items and items[0].features.ndim == 1:
        tensors["features"] = np.stack([item.features for item in items])
    else:
        tensors |= {str(number): np.ascontiguousarray(item.features) for number, item in enumerate(items)}
    save_file(tensors, partial, metadata={**facts, "labels": values})


@contextmanager
def _hdf5(
    partial: Path, path: Path, rows: int, labels: pa.DataType | None, facts: Mapping[str, str]
) -> Iterator[Write]:
    with h5py.File(partial, "w") as file:
        count = 0

        def write(item: FeatureRow) -> None:
            nonlocal count
            data = file.create_dataset(str(count), data=item.features)
            data.attrs["row"] = item.row
            if item.label is not None:
                data.attrs["label"] = item.label
            count += 1

        yield write
        file.attrs.update(facts)
