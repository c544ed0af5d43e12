"""Folders appear whole or not at all, and the newest whole checkpoint is the one that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlptl.training.checkpoints import (
    last_checkpoint,
    remove_other_checkpoints,
    restore_retired,
    written_whole,
)


def write(folder: Path, text: str, failure: type[BaseException] | None = None) -> None:
    with written_whole(folder) as partial:
        (partial / "file").write_text(text, encoding="utf-8")
        if failure is not None:
            raise failure


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "model", "new")
    assert (tmp_path / "deep" / "model" / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path / "deep") == ["model"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    (tmp_path / "model" / "extra").touch()
    write(tmp_path / "model", "new")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["file"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there_and_nothing_else(
    failure: type[BaseException], tmp_path: Path
) -> None:
    write(tmp_path / "model", "old")
    for folder in (tmp_path / "model", tmp_path / "other"):
        with pytest.raises(failure):
            write(folder, "half", failure)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "file").read_text(encoding="utf-8") == "old"


def test_what_a_killed_run_left_half_written_does_not_get_into_the_next(tmp_path: Path) -> None:
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "stale").touch()
    write(tmp_path / "model", "new")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["file"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    (tmp_path / "model").rename(tmp_path / ".model.retired")
    restore_retired(tmp_path / "model")
    assert (tmp_path / "model" / "file").read_text(encoding="utf-8") == "old"
    write(tmp_path / ".model.retired", "older")
    restore_retired(tmp_path / "model")  # there is a model: it stays
    assert (tmp_path / "model" / "file").read_text(encoding="utf-8") == "old"


def test_the_last_checkpoint_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "absent") is None
    assert last_checkpoint(tmp_path) is None
    for name in (
        "checkpoint-9",
        "checkpoint-100",
        "checkpoint-20",
        ".checkpoint-500.partial",
        "checkpoint-best",
    ):
        (tmp_path / name).mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_one_checkpoint_is_kept(tmp_path: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-100", "runs"):
        (tmp_path / name).mkdir()
    remove_other_checkpoints(tmp_path / "checkpoint-100")
    assert names(tmp_path) == ["checkpoint-100", "runs"]
