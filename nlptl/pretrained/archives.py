"""Named files out of an archive from elsewhere: nothing but these is written, and never more than was foreseen."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from nlptl.errors import ModelError

MOST_ENTRIES = 1_000
MOST_UNPACKED = (
    12  # times the archive's size: numbers as text shrink to a third, a table of zeros to a thousandth
)
BLOCK = 1 << 20


def unpack(archive: Path, members: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Unpack some files of a `.tgz` or `.zip`, each found by the last part of its path.

    Args:
        members: the names of the files, by their option.
        folder: where they go, without the folders that they have in the archive.

    Raises:
        ModelError: the archive is damaged, lacks one of them or has it twice, unpacks to far more than it should, or
            has a link, or a path that leads out of it.
    """
    wanted = {name: folder / name for name in members.values()}
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, wanted)
        else:
            _unpack_tar(archive, wanted)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        gzip.BadGzipFile,
        RuntimeError,
    ) as error:
        raise ModelError(f"a damaged archive ({error})", f"in {archive}", f"remove it: {archive}") from error
    for name, path in wanted.items():
        if not path.is_file():
            raise _refused(archive, f"it has no {name}")
    return {option: wanted[name] for option, name in members.items()}


def _unpack_tar(archive: Path, wanted: Mapping[str, Path]) -> None:
    room = _Room(archive)
    with gzip.open(archive) as unzipped:
        stream = _Counted(unzipped, room)
        with tarfile.open(fileobj=stream, mode="r|") as entries:  # type: ignore[call-overload]  # it only reads
            for entry in entries:
                kind = "folder" if entry.isdir() else "file" if entry.isreg() else "link or device"
                target = room.admit(entry.name, kind, wanted)
                if target is not None:
                    content = entries.extractfile(entry)
                    assert content is not None
                    _write(content, target)
        while stream.read(BLOCK):  # to its end, where its checksum is
            pass


def _unpack_zip(archive: Path, wanted: Mapping[str, Path]) -> None:
    room = _Room(archive)
    with zipfile.ZipFile(archive) as entries:
        for entry in entries.infolist():
            mode = entry.external_attr >> 16
            link = mode & 0o170000 == 0o120000
            kind = "folder" if entry.is_dir() else "link or device" if link else "file"
            target = room.admit(entry.filename, kind, wanted)
            if target is not None:
                room.take(entry.file_size)
                with entries.open(entry) as content:
                    _write(content, target)


class _Room:
    """What an archive may hold."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.entries = archive, 0
        self.left = MOST_UNPACKED * archive.stat().st_size + (1 << 20)

    def take(self, size: int) -> None:
        """So many bytes have been unpacked."""
        self.left -= size
        if self.left < 0:
            raise _refused(self.archive, "it unpacks to far more than such an archive should")

    def admit(self, name: str, kind: str, wanted: Mapping[str, Path]) -> Path | None:
        """Where an entry is to be written, if it is."""
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            raise _refused(self.archive, f"it has more than {MOST_ENTRIES:,} entries")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise _refused(self.archive, f"its entry {name[:80]!r} leads out of it")
        if kind == "link or device":
            raise _refused(self.archive, f"its entry {name[:80]!r} is a link or a device")
        target = wanted.get(path.name) if kind == "file" else None
        if target is not None and target.exists():
            raise _refused(self.archive, f"it has {path.name} twice")
        return target


class _Counted:
    """A stream of which no more is read than there is room for, headers of whatever size among it."""

    def __init__(self, stream: gzip.GzipFile, room: _Room) -> None:
        self.stream, self.room = stream, room

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        self.room.take(len(found))
        return found


def _write(content: IO[bytes], target: Path) -> None:
    with open(target, "xb") as file:
        while block := content.read(BLOCK):
            file.write(block)


def _refused(archive: Path, cause: str) -> ModelError:
    return ModelError(f"an archive that is refused: {cause}", f"in {archive}", "do not trust it")
