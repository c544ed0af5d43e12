"""Runs that a test stops or kills at a chosen place, and what there is to compare of a finished run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.commands.pretrain import pretrain
from nlptl.config import FinetuneConfig, PretrainConfig
from nlptl.errors import Interrupted
from nlptl.training.progress import Reporter

LANGUAGE_MODEL, CLASSIFIER = "language model", "classifier"
Config = PretrainConfig | FinetuneConfig


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run's own handles it."""


class StrikingReporter(Reporter):
    """Kills or interrupts the run when it says that a step of a stage is done, or when it says certain words.

    Args:
        at: (stage, step), or words of a note.
    """

    def __init__(self, at: tuple[str, int] | str | None, strike: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self.at, self.strike = at, strike

    def advance(self, done: int, figures: str, seconds_left: float | None = None) -> None:
        if (self.stage, done) == self.at:
            self.strike()

    def note(self, text: str) -> None:
        if isinstance(self.at, str) and self.at in text:
            self.strike()


def kill() -> None:
    """SIGKILL."""
    raise Killed


def interrupt() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def go(
    config: Config, *, resume: bool = False, at: Any = None, strike: Callable[[], None] = kill
) -> dict[str, Any]:
    """Run a config as the command line does."""
    command: Any = pretrain if isinstance(config, PretrainConfig) else finetune
    report: dict[str, Any] = command(config, Invocation(resume=resume, reporter=StrikingReporter(at, strike)))
    return report


def outcome(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The log without its speeds, and the hash of the model's weights."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line.pop("tokens_per_second", None)
    return lines, hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def steps(folder: Path) -> list[int]:
    """The steps that the log has a loss of, in its order."""
    return [line["step"] for line in outcome(folder)[0] if "loss" in line]


def stopped_and_resumed(config: Config, strikes: list[Any], strike: Callable[[], None]) -> Path:
    """The folder of a run that each strike ended and that was resumed after it."""
    expected = Killed if strike is kill else Interrupted
    for number, at in enumerate(strikes):
        with pytest.raises(expected):
            go(config, resume=number > 0, at=at, strike=strike)
    go(config, resume=True)
    assert config.output is not None
    return config.output
