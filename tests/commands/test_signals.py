"""Real signals to `python -m nlptl`: what it says, its exit code, and that the run goes on to the same bytes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nlptl.training.checkpoints as checkpoints
from nlptl.config import FinetuneConfig, PretrainConfig, dump
from tests.commands.striking import outcome, steps

# The time is for a busy machine, on which five processes take long to import everything.
pytestmark = [pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"), pytest.mark.timeout(900)]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """`python -m nlptl` with these arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "nlptl", *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def struck(
    process: subprocess.Popen[str], folder: Path, step: int, number: signal.Signals
) -> tuple[int, str]:
    """The exit code and the standard error of a process that was sent a signal once it had saved so many steps."""

    def saved() -> int:
        last = checkpoints.last_checkpoint(folder / "checkpoints")
        return 0 if last is None else int(last.name.removeprefix(checkpoints.PREFIX))

    while saved() < step and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate()
    return process.returncode, said


@pytest.mark.parametrize(
    "family", ["ulmfit", "wordvectors"], indirect=True
)  # each has a training loop of its own
def test_interrupted_by_the_keyboard_the_command_says_how_to_go_on(
    pretraining: Callable[..., PretrainConfig], pretrained: Path, tmp_path: Path
) -> None:
    config = pretraining(output=tmp_path / "a run")  # whose name has to be quoted
    assert config.output is not None
    file = tmp_path / "run.yaml"
    file.write_text(dump(config), encoding="utf-8")
    code, said = struck(started(["pretrain", str(file)]), config.output, 2, signal.SIGINT)
    assert code == 130, said
    assert "Traceback" not in said
    program, *arguments = shlex.split(said.strip().splitlines()[-1])
    assert program == "nlptl"
    process = started([*arguments, "--json"])
    printed, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(printed)["steps"] == steps(pretrained)[-1]
    assert outcome(config.output) == outcome(pretrained)


@pytest.mark.parametrize("family", ["elmo"], indirect=True)
def test_killed_then_terminated_then_resumed(
    finetuning: Callable[..., FinetuneConfig], finetuned: Path, tmp_path: Path
) -> None:
    config = finetuning()
    assert config.output is not None
    file = tmp_path / "run.yaml"
    file.write_text(dump(config), encoding="utf-8")
    code, _ = struck(started(["finetune", str(file)]), config.output / "lm", 2, signal.SIGKILL)
    assert code == -signal.SIGKILL
    resumed = ["finetune", "--output", str(config.output), "--resume"]
    code, said = struck(started(resumed), config.output, 2, signal.SIGTERM)
    assert code == 130, said
    process = started(resumed)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert outcome(config.output) == outcome(finetuned)
    assert outcome(config.output / "lm") == outcome(finetuned / "lm")
