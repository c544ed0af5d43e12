"""Whether a file is the one that it should be: by its size, by the hash that its publisher states, or by our record.

Where no hash is published for all of a file, its SHA-256 is recorded beside it the first time (`FILE.sha256`, which
`sha256sum --check` reads), and a later download has to be the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from nlptl.pretrained.public_models import PublicFile

MIB = 1 << 20


class Unfit(Exception):
    """A file that is not the one wanted; its text says why."""


@dataclass(frozen=True)
class Verified:
    """A file that has been looked at.

    Attributes:
        kind: what it was verified by: that of the published hash; `recorded-sha256`, that of our first download;
            or `first-download`, by which nothing but its size was held against anything.
    """

    path: Path
    bytes: int
    sha256: str
    kind: str


def digest(path: Path, kind: str) -> str:
    """A file's hash of a kind that `PublishedHash` has."""
    with open(path, "rb") as stream:
        if kind == "sha256":
            return hashlib.file_digest(stream, "sha256").hexdigest()
        if kind == "md5-first-mib":
            return hashlib.md5(stream.read(MIB), usedforsecurity=False).hexdigest()
        assert kind == "git-blob-sha1"
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while block := stream.read(MIB):
            found.update(block)
        return found.hexdigest()


def verify(path: Path, wanted: PublicFile, record: Path) -> Verified:
    """Hold a file against what is known of it; record its SHA-256 where that is not published.

    Args:
        path: where the file is now.
        record: where its SHA-256 is, or is to be, recorded.

    Raises:
        Unfit: it is another file.
    """
    size = path.stat().st_size
    if wanted.bytes is not None and size != wanted.bytes:
        raise Unfit(f"it has {size:,} bytes and not {wanted.bytes:,}")
    if size > wanted.largest:
        raise Unfit(f"it has {size:,} bytes, more than {wanted.largest:,}")
    if wanted.hash is not None and (found := digest(path, wanted.hash.kind)) != wanted.hash.value:
        raise Unfit(f"its {wanted.hash.kind} is {found} and not {wanted.hash.value}")
    if wanted.hash is not None and wanted.hash.kind == "sha256":
        return Verified(path, size, wanted.hash.value, "sha256")
    sha256, before = digest(path, "sha256"), recorded(record)
    if before is not None and before != sha256:
        raise Unfit(
            f"its sha256 is {sha256} and not that of the first download; if the new one is right, remove {record}"
        )
    if before is None:
        record.write_text(f"{sha256}  {wanted.name}\n", encoding="utf-8")
    known = "first-download" if before is None else "recorded-sha256"
    return Verified(path, size, sha256, known if wanted.hash is None else wanted.hash.kind)


def recorded(record: Path) -> str | None:
    """The SHA-256 of the first download, where there was one."""
    try:
        words = record.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return words[0] if words else None
