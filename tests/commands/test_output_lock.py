"""Two runs on one output: the second is refused and changes nothing, and the dead lock nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nlptl.commands.output_lock import LOCK, check_unlocked, lock, locks_released
from nlptl.errors import UsageError

Command = Callable[..., CompletedProcess[str]]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
HOLDER = """
import sys, pathlib, nlptl.commands.output_lock as locks
locks.lock(pathlib.Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(output: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of an output, until it is killed."""
    words = [sys.executable, "-c", HOLDER, str(output)]
    root = str(Path(__file__).resolve().parents[2])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": root}, text=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_second_run_in_a_folder_is_refused_and_the_dead_hold_nothing(
    command: Command,
    classifier_folder: Path,
    labelled_file: Path,
    language_model_folder: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    words = ("finetune", "--model", language_model_folder, "--data", labelled_file, "-o", folder)
    quick = ("--set", "strategy=freeze", "--no-lm-tuning")
    assert command(*words, *quick).returncode == 0
    before = contents(folder)
    assert LOCK not in before
    with held_by_another(folder) as other:
        for go_on in ("--resume", "--force"):
            outcome = command(*words, *quick, go_on)
            assert outcome.returncode == 2
            wanted = f"error: another run is writing there, {folder}; wait for its end or stop it"
            assert outcome.stderr.splitlines()[-1].startswith(wanted)
            assert {**contents(folder), LOCK: b""} == {**before, LOCK: b""}
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (folder / LOCK).exists()
        assert command(*words, *quick, "--force").returncode == 0
    assert set(contents(folder)) == set(before)


@pytest.mark.parametrize("name", ["labels.jsonl", "features.npy"])
def test_the_second_run_that_writes_a_file_leaves_what_the_first_has_written(
    name: str, command: Command, classifier_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / name
    (tmp_path / f".{name}.partial").write_text("of the first run", encoding="utf-8")
    words: tuple[object, ...] = ("predict", "--model", classifier_folder, labelled_file, "-o", output)
    if name.endswith(".npy"):
        words = ("extract-features", "--model", classifier_folder, "--data", labelled_file, "-o", output)
    with held_by_another(output):
        outcome = command(*words)
        assert outcome.returncode == 2
        assert "another run is writing there" in outcome.stderr
        assert (tmp_path / f".{name}.partial").read_text(encoding="utf-8") == "of the first run"
    assert command(*words).returncode == 0
    assert not (tmp_path / f".{name}{LOCK}").exists()


def test_a_folder_with_nothing_but_the_lock_of_the_dead_is_empty(
    command: Command, text_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).touch()
    sizes = ("--size", "tiny", "--vocab-size", "300", "--max-steps", "1")
    outcome = command("pretrain", "--family", "ulmfit", "--text", text_file, "-o", tmp_path / "run", *sizes)
    assert outcome.returncode == 0, outcome.stderr


def test_one_process_may_lock_a_folder_twice_and_keeps_it_until_the_first_ends(tmp_path: Path) -> None:
    with locks_released():
        lock(tmp_path)
        with locks_released():
            lock(tmp_path)
        check_unlocked(tmp_path)
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_what_a_fork_has_of_a_lock_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """A worker that hangs after its parent was killed keeps no folder locked."""
    with held_by_another(tmp_path), pytest.raises(UsageError, match="another run is writing there"):
        lock(tmp_path)
    script = HOLDER + "import os, time\nif os.fork() == 0:\n    time.sleep(5)\nos._exit(0)\n"
    root = str(Path(__file__).resolve().parents[2])
    words = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(
        words, env={**os.environ, "PYTHONPATH": root}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    with locks_released():
        lock(tmp_path)


def test_a_lock_that_can_no_longer_be_removed_is_left_and_means_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch, locks_released():
        lock(tmp_path)
        patch.setattr(Path, "unlink", refuse)
    assert (tmp_path / LOCK).exists()
    check_unlocked(tmp_path)
