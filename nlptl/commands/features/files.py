"""Files of features: a format by its suffix, how large it will be, and a file that appears whole or not at all."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from nlptl import processes
from nlptl.commands.features.arrays import Npy, Safetensors
from nlptl.commands.features.formats import FeatureFile, FeatureRow
from nlptl.commands.features.tables import Hdf5, Parquet
from nlptl.commands.output_lock import lock, locks_released
from nlptl.commands.run_folder import check_output_file
from nlptl.errors import RunFailed, UsageError

__all__ = [
    "SUFFIXES",
    "FeatureRow",
    "check_feature_file",
    "check_room",
    "feature_file",
    "file_bytes",
    "size_in_words",
]

FORMATS: dict[str, type[FeatureFile]] = {
    ".parquet": Parquet,
    ".npy": Npy,
    ".safetensors": Safetensors,
    ".hdf5": Hdf5,
    ".h5": Hdf5,
}
SUFFIXES = tuple(FORMATS)
MOST_TENSORS = 800_000  # whose names and places fit the header of a .safetensors file

Write = Callable[[FeatureRow], None]


@contextmanager
def feature_file(path: Path, labels: pa.DataType | None, facts: Mapping[str, str]) -> Iterator[Write]:
    """Open a file of features by its suffix; it takes its name when the block ends well.

    Of several processes the leader writes, and what the others give goes nowhere.

    Args:
        labels: the type of the labels; None where there are none.
        facts: which model, layers and pooling made it, and at which `level`.

    Raises:
        RunFailed: it cannot be written.
        UsageError: another run is writing it.
    """
    if not processes.is_leader():
        yield lambda item: None
        return
    with locks_released():
        kind = FORMATS[path.suffix]
        names = kind.names(path)
        with _write_errors(path):
            lock(path)  # and what another run has half written is not touched
        try:
            with _write_errors(path):
                file = kind(path, labels, facts)

            def write(item: FeatureRow) -> None:
                with _write_errors(path):
                    file.write(item)

            try:
                yield write
                with _write_errors(path):
                    file.finish()
            finally:
                with suppress(OSError):  # what went wrong first is what counts
                    file.close()
            with _write_errors(path):
                whole = {made: name for made, name in names.items() if name is not None}
                if len(whole) > 1:  # a kill between the renames leaves no file rather than one of two runs
                    path.unlink(missing_ok=True)
                for made, name in whole.items():
                    os.replace(made, name)
        finally:
            for made in names:
                made.unlink(missing_ok=True)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # a disk that is full when HDF5 closes a file is a RuntimeError
        said = " ".join(str(getattr(error, "strerror", None) or error).split())[:160]
        raise RunFailed(f"cannot be written ({said})", str(path), "make room, or name another") from None


def check_feature_file(output: Path, data: str, level: str, *, force: bool) -> None:
    """A file of features can be written there, by its suffix and by what lies there; nothing is made.

    Raises:
        UsageError: its suffix names no format or one that cannot hold tokens; or as `check_output_file`, also of what
            is written beside it.
    """
    if output.suffix not in SUFFIXES:
        raise UsageError(
            f"no format is known by the suffix {output.suffix!r}",
            str(output),
            f"use one of {', '.join(SUFFIXES)}",
        )
    if output.suffix == ".npy" and level == "token":
        raise UsageError(
            ".npy holds one row a text and cannot hold token vectors",
            "--level token",
            "write .parquet, .safetensors or .hdf5",
        )
    for name in FORMATS[output.suffix].names(output).values():
        if name is not None:
            check_output_file(name, data, force=force)


def file_bytes(suffix: str, rows: int, vectors: int, width: int) -> int:
    """About how large a file will be: its vectors in fp32, and what its format needs for each row."""
    return 4 * vectors * width + FORMATS[suffix].row_bytes * rows


def check_room(output: Path, size: int, rows: int, level: str) -> None:
    """The disk has room for the file, and its format for the rows.

    Raises:
        UsageError: it has not.
    """
    if output.suffix == ".safetensors" and level == "token" and rows > MOST_TENSORS:
        cause = f"a .safetensors file names each row in its header and holds at most {MOST_TENSORS:,}"
        raise UsageError(cause, f"{rows:,} rows", "write .parquet or .hdf5")
    needed = 2 * size if FORMATS[output.suffix] is Safetensors else size
    free = shutil.disk_usage(output.absolute().parent).free
    if needed > free:
        cause = f"the disk has {size_in_words(free)} free and {size_in_words(needed)} are needed"
        raise UsageError(cause, str(output), "make room, or name another --output")


def size_in_words(size: float) -> str:
    """Bytes for people: `812 bytes`, `5.6 MB`."""
    if size < 1000:
        return f"{size:.0f} bytes"
    power = min(int(math.log10(size)) // 3, 4)
    return f"{size / 1000**power:.1f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"
