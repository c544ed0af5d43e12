"""The command that a report, a model card and a stopped run show can be typed as it stands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nlptl.commands.command_line import typed_command, way_on
from nlptl.config import FinetuneConfig

HERE = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
AFAR = {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"}
BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no"}


@pytest.mark.parametrize(
    ("environment", "program"),
    [
        ({}, "nlptl"),
        ({**HERE, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, "nlptl"),
        (HERE, "torchrun --nproc-per-node 2 -m nlptl"),
        (AFAR, "torchrun --nnodes 2 --nproc-per-node 4 -m nlptl"),
        ({**HERE, **BY_ACCELERATE}, "accelerate launch --num_processes 2 -m nlptl"),
        ({**AFAR, **BY_ACCELERATE}, "accelerate launch --num_machines 2 --num_processes 8 -m nlptl"),
    ],
)
def test_a_run_goes_on_as_it_was_started(
    environment: Mapping[str, str], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*AFAR, *BY_ACCELERATE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["nlptl", "finetune", "--data", "my reviews.csv"])
    assert typed_command() == f"{program} finetune --data 'my reviews.csv'"
    said, command = way_on(FinetuneConfig(output=Path("runs/first"))).split("\n")
    assert command == f"  {program} finetune --output runs/first --resume"
    assert ("every machine" in said) == (environment.get("GROUP_WORLD_SIZE") == "2")
