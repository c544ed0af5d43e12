"""Files at an address (`s3://bucket/part-*.parquet`, `https://…`): each is fetched once, and read from the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec

from nlptl.cache import cache_folder
from nlptl.errors import DataError


def fetched(address: str, offline: bool) -> list[Path]:
    """The files at an address that may hold signs of a glob, in the order of their names.

    A file that has changed at its address since it was fetched is fetched again. What each protocol needs to log in
    is read from where its `fsspec` package looks for it.

    Raises:
        DataError: nothing is there, it cannot be read, or `offline` forbids it.
    """
    protocol = address.split("://")[0]
    if offline and protocol not in ("file", "local", "memory"):
        raise DataError("--offline forbids to fetch it", address, "fetch it before, and give the path")
    try:
        there, _, found = fsspec.get_fs_token_paths(address)  # with the signs of a glob resolved
        files = [_cached(there.unstrip_protocol(path)) for path in sorted(found)]
    except FileNotFoundError as error:
        raise DataError("nothing is there", address, "check the address") from error
    except ImportError as error:
        raise DataError(str(error), address, "install that package, or fetch the file yourself") from error
    except Exception as error:  # each protocol has exceptions of its own
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"it cannot be fetched ({cause[:200]})", address, "check address and access"
        ) from error
    if not files:
        raise DataError("no file matches", address, "check the pattern")
    return files


def _cached(address: str) -> Path:
    """One file, in a folder of its own: shards of other folders may have the same name."""
    folder = cache_folder("remote") / hashlib.sha256(address.encode()).hexdigest()[:24]
    options = {"cache_storage": str(folder), "same_names": True, "check_files": True}
    return Path(fsspec.open_local(f"filecache::{address}", mode="rb", filecache=options))
