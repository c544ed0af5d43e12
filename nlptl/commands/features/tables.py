"""Features as rows with all that belongs to them: Parquet and HDF5."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nlptl.commands.features.formats import FeatureFile, FeatureRow

GROUP_ROWS = 4096
SPARE_BYTES = 1 << 24  # that HDF5 may still have in its caches
GROUP_VALUES = 1 << 22  # 16 MB; Arrow counts the values of a group in 31 bits


class Parquet(FeatureFile):
    """Columns `row`, `label` and `features` (a list of floats, of tokens a list of lists); facts in the schema."""

    row_bytes = 16

    def __init__(self, path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> None:
        super().__init__(path, labels, facts)
        self._deep = facts.get("level") == "token"
        vector = pa.list_(pa.float32())
        named = {"row": pa.int64(), "label": labels, "features": pa.list_(vector) if self._deep else vector}
        schema = pa.schema({k: kind for k, kind in named.items() if kind is not None}, metadata=self.facts)
        # A dictionary of floats never pays, and costs more time than writing them does.
        dictionary: Any = ["label"] if labels is not None else False
        self._writer = pq.ParquetWriter(self.partial, schema, use_dictionary=dictionary)
        self._group: list[FeatureRow] = []
        self._values = 0

    def write(self, item: FeatureRow) -> None:
        self._group.append(item)
        self._values += item.features.size
        if len(self._group) >= GROUP_ROWS or self._values >= GROUP_VALUES:
            self._flush()

    def finish(self) -> None:
        if self._group:
            self._flush()
        self._writer.close()

    def close(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        columns = {"row": pa.array([item.row for item in self._group], pa.int64())}
        if self.labels is not None:
            columns["label"] = pa.array([item.label for item in self._group], self.labels)
        arrays = [item.features for item in self._group]
        lists = pa.array(np.concatenate([array.ravel() for array in arrays]))
        if self._deep:
            width = max(array.shape[-1] for array in arrays)
            lists = pa.ListArray.from_arrays(_offsets(np.full(len(lists) // max(width, 1), width)), lists)
        columns["features"] = pa.ListArray.from_arrays(_offsets([len(array) for array in arrays]), lists)
        self._writer.write_table(pa.table(columns, schema=self._writer.schema))
        self._group, self._values = [], 0


def _offsets(lengths: list[int] | NDArray[np.int64]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


class Hdf5(FeatureFile):
    """A data set a row, named "0", "1", ..., with its number and label as attributes; facts as those of the file.

    Rows that have a sentence are listed in `sentence_to_index`, one string of JSON (sentence -> name of its data
    set, of equal sentences the last), as AllenNLP's `allennlp elmo` writes it.
    """

    row_bytes = 400

    def __init__(self, path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> None:
        super().__init__(path, labels, facts)
        self._file = h5py.File(self.partial, "w")
        self._count = 0
        self._names: dict[str, str] = {}

    def write(self, item: FeatureRow) -> None:
        # The HDF5 library does not survive a disk that fills up while it writes: stop before it does.
        if shutil.disk_usage(self.partial.parent).free < item.features.nbytes + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        name = str(self._count)
        data = self._file.create_dataset(name, data=item.features, dtype=np.float32)
        _set_attribute(data, b"row", item.row)
        if item.label is not None:
            _set_attribute(data, b"label", item.label)
        if item.sentence is not None:
            self._names[item.sentence] = name
        self._count += 1

    def finish(self) -> None:
        self._file.attrs.update(self.facts)
        if self._names:
            listed = self._file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())
            listed[0] = json.dumps(self._names)
        self._file.close()

    def close(self) -> None:
        with suppress(RuntimeError):  # what could not be written is the failure that counts
            self._file.close()


_SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)
_STRING = h5py.h5t.py_create(h5py.string_dtype(), logical=True)


def _set_attribute(data: h5py.Dataset, name: bytes, value: Any) -> None:
    """`data.attrs[name] = value`, for numbers and strings without the five calls that finding its type takes."""
    if isinstance(value, list):
        data.attrs[name.decode()] = value
        return
    number = isinstance(value, int)
    kind = h5py.h5t.NATIVE_INT64 if number else _STRING
    array = np.array(value, dtype=np.int64 if number else h5py.string_dtype())
    h5py.h5a.create(data.id, name, kind, _SCALAR).write(array)
