"""Features as plain arrays: `.npy` and `.safetensors`, whose headers are known last and stand first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nlptl.commands.features.formats import FeatureFile, FeatureRow, in_the_making
from nlptl.errors import RunFailed

BUFFER_BYTES = 1 << 20
HEADER_BYTES = 100_000_000  # what readers of safetensors take for a header at most


class Npy(FeatureFile):
    """rows x width; facts, row numbers and labels lie beside it in `NAME.npy.json`."""

    def __init__(self, path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> None:
        super().__init__(path, labels, facts)
        self._numbers: list[int] = []
        self._labels: list[Any] = []
        self._width = 0
        self._file = open(self.partial, "wb", buffering=BUFFER_BYTES)  # noqa: SIM115  # see close
        self._write_header()

    @classmethod
    def names(cls, path: Path) -> dict[Path, Path | None]:
        beside = path.with_name(f"{path.name}.json")
        return {in_the_making(beside): beside, **super().names(path)}

    def write(self, item: FeatureRow) -> None:
        self._width = len(item.features)
        self._file.write(np.ascontiguousarray(item.features, dtype="<f4").data)
        self._numbers.append(item.row)
        self._labels.append(item.label)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()  # as long as the first: numpy leaves room in it for more rows, and pads it to 64 bytes
        self._file.close()
        labels = None if self.labels is None else self._labels
        known = {**self.facts, "rows": self._numbers, "labels": labels}
        beside = next(iter(self.names(self.path)))
        beside.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self._numbers), self._width)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        self._file.close()


class Safetensors(FeatureFile):
    """Tensors `row` and `features` (rows x width), or of tokens one a row, named "0", "1", ...; facts as metadata.

    The header with the place of every tensor comes first and is known last: vectors wait in a file beside it.
    """

    row_bytes = 8

    def __init__(self, path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> None:
        super().__init__(path, labels, facts)
        *_, waiting = self.names(path)
        self._file = open(waiting, "w+b", buffering=BUFFER_BYTES)  # noqa: SIM115  # see close
        self._numbers: list[int] = []
        self._labels: list[Any] = []
        self._shapes: list[tuple[int, ...]] = []

    @classmethod
    def names(cls, path: Path) -> dict[Path, Path | None]:
        return {**super().names(path), in_the_making(path.with_name(f"{path.name}.vectors")): None}

    def write(self, item: FeatureRow) -> None:
        self._file.write(np.ascontiguousarray(item.features, dtype="<f4").data)
        self._numbers.append(item.row)
        self._labels.append(item.label)
        self._shapes.append(item.features.shape)

    def finish(self) -> None:
        numbers = np.array(self._numbers, dtype="<i8")
        header: dict[str, Any] = {"__metadata__": {**self.facts, "labels": json.dumps(self._labels)}}
        header["row"] = {"dtype": "I64", "shape": list(numbers.shape), "data_offsets": [0, numbers.nbytes]}
        flat = self.facts.get("level") != "token"
        whole = [(len(self._shapes), *(self._shapes[0] if self._shapes else (0,)))]
        begin = numbers.nbytes
        for number, shape in enumerate(whole if flat else self._shapes):
            end = begin + 4 * int(np.prod(shape))
            name = "features" if flat else str(number)
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
            begin = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        if len(text) > HEADER_BYTES:
            raise RunFailed(
                f"{len(numbers):,} rows and their labels do not fit the header of a .safetensors file",
                str(self.path),
                "write .parquet or .hdf5",
            )
        with open(self.partial, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text + numbers.tobytes())
            self._file.seek(0)
            shutil.copyfileobj(self._file, file, BUFFER_BYTES)

    def close(self) -> None:
        self._file.close()
