"""`--dry-run` foretells the steps that the run then takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]
TUNED = ("--epochs", 2, "--set", "lm.epochs=2", "--set", "lm.batch_size=4", "--set", "lm.bptt=16")


def last_step(log: Path) -> int:
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return max(row["step"] for row in rows if "step" in row)


@pytest.mark.parametrize("batch_size", [5, 8, 35])
def test_steps_are_those_of_the_run(
    batch_size: int, finetune: Callable[..., dict[str, Any]], tmp_path: Path, text_file: Path
) -> None:
    words = (*TUNED, "--batch-size", batch_size, "--lm-text", text_file, "--set", "log_steps=1")
    plan = finetune(*words, "--dry-run")
    finetune(*words)
    assert plan["steps"] == last_step(tmp_path / "run" / "log.jsonl")
    stage = plan["language_model_tuning"]
    assert stage["models"] == 1
    assert stage["tokens"] > stage["windows"] > stage["steps"] / 2 > 0
    metrics = json.loads((tmp_path / "run" / "lm" / "metrics.json").read_text(encoding="utf-8"))
    assert stage["steps"] == metrics["steps"]


def test_a_frozen_body_is_trained_in_no_step_and_gets_the_head_asked_for(
    finetune: Callable[..., dict[str, Any]],
) -> None:
    plans = {
        head: finetune("--strategy", "freeze", "--head", head, "--dry-run") for head in ("logistic", "mlp")
    }
    assert [(plan["steps"], plan["head"]) for plan in plans.values()] == [(0, "logistic"), (0, "mlp")]
    assert plans["logistic"]["parameters"] != plans["mlp"]["parameters"]
    assert "language_model_tuning" not in plans["mlp"]


@pytest.mark.parametrize("limit", [None, 3])
def test_the_steps_of_pretraining_are_those_of_the_run(
    limit: int | None, command: Command, language_model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    words: list[Any] = ["pretrain", "--model", language_model_folder, "--text", text_file, "--epochs", 2]
    words += ["--batch-size", 4, "--bptt", 16, "--json", "-o", tmp_path / "run"]
    words += [] if limit is None else ["--max-steps", limit]
    plan, report = (json.loads(command(*words, *more).stdout) for more in (["--dry-run"], []))
    assert plan["steps"] == report["steps"]
    assert plan["tokens"] == report["train_tokens"]
