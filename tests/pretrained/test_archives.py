"""Archives from elsewhere: the files wanted come out of them, and nothing else happens."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nlptl.errors import ModelError
from nlptl.pretrained.archives import unpack

WEIGHTS = tarfile.TarInfo("wt103/lm.pth"), b"weights"
WORDS = tarfile.TarInfo("wt103/itos.pkl"), b"words"
MEMBERS = {"weights": "lm.pth", "vocab": "itos.pkl"}


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_files_wanted_come_out_of_a_tar_and_a_zip(folder: Path, tmp_path: Path) -> None:
    other = tarfile.TarInfo("wt103/._lm.pth"), b"of another system"
    found = unpack(tar(tmp_path / "a.tgz", other, WEIGHTS, WORDS), MEMBERS, folder)
    assert {option: path.read_bytes() for option, path in found.items()} == {
        "weights": b"weights",
        "vocab": b"words",
    }
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("glove.100d.txt", "no")
        archive.writestr("glove.300d.txt", "yes")
    found = unpack(tmp_path / "b.zip", {"weights": "glove.300d.txt"}, folder)
    assert found["weights"].read_text() == "yes"
    assert sorted(path.name for path in folder.iterdir()) == ["glove.300d.txt", "itos.pkl", "lm.pth"]


HOSTILE: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "a path above": ([(tarfile.TarInfo("../lm.pth"), b"x")], "leads out of it"),
    "an absolute path": ([(tarfile.TarInfo("/tmp/lm.pth"), b"x")], "leads out of it"),
    "a link": ([link("lm.pth", "/etc/hosts"), WORDS], "is a link or a device"),
    "a hard link": ([link("lm.pth", "/etc/hosts", tarfile.LNKTYPE)], "is a link or a device"),
    "a device": ([link("x", "", tarfile.CHRTYPE)], "is a link or a device"),
    "a name twice": ([WEIGHTS, WORDS, (tarfile.TarInfo("b/lm.pth"), b"x")], "it has lm.pth twice"),
    "a file that is not there": ([WEIGHTS], "it has no itos.pkl"),
    "a bomb": ([(tarfile.TarInfo("lm.pth"), bytes(4 << 20)), WORDS], "far more than such an archive should"),
    "a bomb beside what is wanted": ([(tarfile.TarInfo("x"), bytes(4 << 20)), WORDS], "far more than"),
    "too many entries": ([(tarfile.TarInfo(f"{n}"), b"") for n in range(1_001)], "more than 1,000 entries"),
}


@pytest.mark.parametrize(("entries", "told"), HOSTILE.values(), ids=HOSTILE)
def test_what_an_archive_must_not_hold(
    entries: list[tuple[tarfile.TarInfo, bytes]], told: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=told):
        unpack(tar(tmp_path / "a.tgz", *entries), MEMBERS, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "out"]
    assert all(path.name in MEMBERS.values() for path in folder.iterdir())


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-20],
    "a wrong checksum": lambda content: content[:-8] + bytes(8),
    "something else": lambda content: b"<html>not found</html>",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_archive_is_one_error(
    damage: Callable[[bytes], bytes], folder: Path, tmp_path: Path
) -> None:
    archive = tar(tmp_path / "a.tgz", WEIGHTS, WORDS)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ModelError, match=r"a damaged archive|it has no lm\.pth"):
        unpack(archive, MEMBERS, folder)
