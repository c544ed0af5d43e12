"""A command as it was typed, and the one that goes on with its run: by the launcher that started this process, too."""

from __future__ import annotations

import os
import shlex
import sys

from nlptl import processes
from nlptl.config import RunConfig


def typed_command() -> str:
    """The command as it was typed, for model cards and reports."""
    return shlex.join([*_program(), *sys.argv[1:]])


def way_on(config: RunConfig) -> str:
    """What to type to go on with an interrupted run, started as it was.

    How several machines find each other is what they were told: their launcher does not pass it on.
    """
    where = " on every machine, each with the launcher's addresses as before" if _machines() > 1 else ""
    command = [*_program(), config.command, "--output", str(config.output), "--resume"]
    return f"to go on{where}:\n  {shlex.join(command)}"


def _program() -> list[str]:
    """`nlptl`, or what starts it as often as it was started here."""
    count, machines = processes.started(), _machines()
    if count == 1:
        return ["nlptl"]
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # accelerate tells it to every process, and no other does
        several = ["--num_machines", str(machines)] if machines > 1 else []
        return ["accelerate", "launch", *several, "--num_processes", str(count), "-m", "nlptl"]
    several = ["--nnodes", str(machines)] if machines > 1 else []
    here = os.environ.get("LOCAL_WORLD_SIZE", str(count))
    return ["torchrun", *several, "--nproc-per-node", here, "-m", "nlptl"]


def _machines() -> int:
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))
