"""One run at a time writes to an output: a lock that the system takes from a process that ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlptl.errors import UsageError

LOCK = ".lock"  # in an output folder while a run is at work there; one that the dead have left means nothing

_held: list[tuple[Path, int]] = []  # the lock files of this process, open, the latest last


@contextmanager
def locks_released() -> Iterator[None]:
    """The outputs that are locked within it are free again at its end."""
    before = len(_held)
    try:
        yield
    finally:
        while len(_held) > before:
            file, descriptor = _held.pop()
            with suppress(OSError):  # one that stays behind means nothing
                file.unlink()  # while it is locked: another's lock is never removed
            os.close(descriptor)


def lock(output: Path) -> None:
    """Keep other processes out of a folder, or from a file, until `locks_released` ends or this process does.

    Raises:
        UsageError: another run is writing there.
        OSError: nothing can be written there.
    """
    file = _lock_file(output)
    if any(file == other for other, _ in _held):
        return
    descriptor = _locked(file, output)
    if descriptor is not None:
        _held.append((file, descriptor))


def check_unlocked(output: Path) -> None:
    """No other process is writing to a folder or file; nothing is made.

    Raises:
        UsageError: one is.
    """
    file = _lock_file(output)
    if not file.is_file() or any(file == other for other, _ in _held):
        return
    descriptor = _locked(file, output)
    if descriptor is not None:
        os.close(descriptor)


def _lock_file(output: Path) -> Path:
    """In a folder, beside a file."""
    output = output.resolve()
    return output / LOCK if output.is_dir() else output.with_name(f".{output.name}{LOCK}")


def _locked(file: Path, output: Path) -> int | None:
    """The lock file, open and locked; None where the system has no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            remedy = "wait for its end or stop it, or name another --output"
            raise UsageError("another run is writing there", str(output), remedy) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):  # some network file systems
                return None
            raise
        os.close(descriptor)  # its last holder has removed it since it was opened


def _is_at(file: Path, descriptor: int) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _forget() -> None:
    """A forked process, which may outlive this one, keeps nothing locked."""
    while _held:
        os.close(_held.pop()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
