"""The wheel and the sdist: everything that is meant is in them, and nothing else."""

from __future__ import annotations

import email
import importlib.util
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 45_000_000  # bytes
# By folder below the package, what is there beside Python.
DATA = {
    "": {"py.typed"},
    "data/samples": {"README.md", "test.jsonl", "train.jsonl"},
    "evaluation": {"learning_curve_report.html", "page.css", "page.html", "report.html"},
    "pretrained": {"public_models.yaml"},
    "pretrained/embedded/elmo-mini": {"vocab.json"},
    "pretrained/embedded/gpt-mini": {"tokenizer.json"},
    "pretrained/embedded/ulmfit-mini": {"tokenizer.json"},
    "pretrained/embedded/ulmfit-mini-backward": {"tokenizer.json"},
    "pretrained/embedded/wordvectors-mini": {"vocab.json"},
}
OF_EVERY_MODEL = {"README.md", "config.json", "model.safetensors", "tokenizer_config.json"}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None,
    reason="hatchling, which builds the package, is not installed",
)


def build(root: Path, folder: Path, kind: str) -> list[Path]:
    """What hatchling builds of a project, without any other package or connection."""
    line = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), "--target", kind]
    subprocess.run(line, cwd=root, check=True, capture_output=True, timeout=100)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made,) = build(ROOT, tmp_path_factory.mktemp("dist"), "wheel")
    return made


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def meant() -> set[str]:
    """The files of the package, below its folder: the data by the list above, and Python's as they lie there."""
    models = {f"{folder}/{name}" for folder in DATA if "embedded/" in folder for name in OF_EVERY_MODEL}
    data = {(PurePosixPath(folder) / name).as_posix() for folder, names in DATA.items() for name in names}
    modules = {path.relative_to(ROOT / "nlptl").as_posix() for path in (ROOT / "nlptl").rglob("*.py")}
    return modules | data | models


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in content(wheel) if ".dist-info/" not in name}
    assert packed == {f"nlptl/{name}" for name in meant()}
    assert wheel.stat().st_size < LARGEST
    notes = {name.partition(".dist-info/")[2] for name in content(wheel) if ".dist-info/" in name}
    assert notes == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    files = content(wheel)
    notes = {name.partition(".dist-info/")[2]: text for name, text in files.items() if ".dist-info/" in name}
    said = email.message_from_bytes(notes["METADATA"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (said["Name"], said["License-Expression"]) == ("nlptl", "Apache-2.0")
    assert said["Requires-Python"] == project["requires-python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    needed = {line.partition(";")[0] for line in said.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert len(needed) == len(project["dependencies"])
    assert set(said.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert b"nlptl = nlptl.cli:main" in notes["entry_points.txt"]
    assert notes["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


@pytest.mark.faults  # takes ten seconds
def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (sdist,) = build(ROOT, tmp_path / "sdist", "sdist")
    assert sdist.stat().st_size < LARGEST
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    (root,) = {name.partition("/")[0] for name in names}
    tops = {name.split("/")[1] for name in names if "/" in name}
    kept = {
        "LICENSE",
        "README.md",
        "configs",
        "nlptl",
        "pyproject.toml",
        "scripts",
        "tests",
        ".gitignore",
        "PKG-INFO",
    }
    assert tops <= kept | {".ci"}
    (again,) = build(tmp_path / root, tmp_path / "dist", "wheel")
    assert content(again) == content(wheel)
