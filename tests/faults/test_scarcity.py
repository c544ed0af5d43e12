"""A disk that is full, folders that may no longer be written, and short memory: a clear error, and then it goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import Scene

SHARE = 10  # strikes of each kind, one for so many kills
PAGE = 4096
# Beside what is mapped already. With less a new thread of CPython 3.11 can fail before it says that it has started,
# and whoever started it waits for ever.
MEMORY = (16 * 2**20, 256 * 2**20)
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="disks, permissions and limits as Linux has them"),
]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes at a folder, which is in memory."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def bytes_on_disk(folder: Path) -> int:
    """Of the files in it, each in whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def test_a_disk_that_is_full(scene: Scene, tmp_path: Path) -> None:
    """The job's folder, with its data and its cache, is on a disk that takes some of what it writes."""
    job, draw = scene.job, random.Random(f"{scene.name} disk")
    needed, data = bytes_on_disk(scene.whole.parent), bytes_on_disk(job.data[1].parent) + PAGE
    for turn in range(max(1, scene.strikes // SHARE)):
        size = data + draw.randrange(0, needed - data, PAGE)
        disk, where = tmp_path / str(turn), f"a disk of {size} bytes"
        with small_disk(disk, size):
            folder = job.prepare(disk / "job")
            ended = scene.run(folder)
            scene.count.count(ended, where, struck=ended.code != 0, codes=(1, 2))
            scene.look(folder, where)
            subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
            scene.finish(folder, where)


def test_an_output_that_may_no_longer_be_written(scene: Scene, tmp_path: Path) -> None:
    """From the first, and from a place where it writes on."""
    job, draw = scene.job, random.Random(f"{scene.name} permission")
    for turn in range(max(2, scene.strikes // SHARE)):
        folder = job.prepare(tmp_path / str(turn))
        place = draw.randint(1, scene.undisturbed.places) if turn else None
        where = f"no permission from place {place} on"
        if place is None:
            folder.chmod(0o555)
            ended = scene.run(folder, powerless=True)
        else:
            ended = scene.run(folder, powerless=True, place=place, forbidden=str(folder / job.output))
        # A forbidden folder may have been written to for the last time.
        scene.count.count(ended, where, struck=ended.code != 0, codes=(2,) if place is None else (1, 2))
        for inner in (folder, *folder.rglob("*")):
            if inner.is_dir():
                inner.chmod(0o755)
        scene.look(folder, where)
        scene.finish(folder, where)


def test_short_memory(scene: Scene, tmp_path: Path) -> None:
    """A clear error, or the end that native code makes of it where it knows no other; nothing is lost by either."""
    count, draw = scene.count, random.Random(f"{scene.name} memory")
    for turn in range(max(1, scene.strikes // SHARE)):
        folder, memory = scene.job.prepare(tmp_path / str(turn)), draw.randint(*MEMORY)
        where = f"{memory >> 20} MB of memory"
        ended = scene.run(folder, memory=memory)
        if ended.is_native:
            count.strikes, count.native = count.strikes + 1, count.native + 1
        else:
            count.count(ended, where, struck=ended.code != 0, codes=(1,))
        scene.look(folder, where)
        scene.finish(folder, where)
