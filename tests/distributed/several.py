"""Runs of commands as a test wants them, in this process or, started by torchrun, in several that meet once for all.

    python -m torch.distributed.run --nproc-per-node 2 tests/distributed/several.py RUNS.json

The file holds a list of `Run`s; what each came to is written beside it by the first process.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
        command: its name on the command line.
        values: of its config.
        killed_at: stage and step at which the run ends without a word, as by SIGKILL.
        killed: the number of the process that dies of it; None where all break the run off, and go on with the next.
    """

    command: str
    values: dict[str, Any]
    resume: bool = False
    killed_at: tuple[str, int] | None = None
    killed: int | None = None


def run(wanted: Run) -> dict[str, Any]:
    """Its report; nothing of one that was killed."""
    import nlptl.config
    from nlptl import processes
    from nlptl.commands.invocation import Invocation
    from tests.commands.striking import Killed, StrikingReporter, kill

    word = wanted.command.split("-")[0]
    schema = getattr(nlptl.config, f"{word.capitalize()}Config")
    name = wanted.command.replace("-", "_")
    command = resolve_name(f"nlptl.commands.{name}:{name}")
    at = None if wanted.killed_at is None else tuple(wanted.killed_at)
    if wanted.killed not in (None, processes.number()):
        at = None
    config = nlptl.config.validated(schema, {**wanted.values, "device": "cpu", "precision": "fp32"})
    try:
        report: dict[str, Any] = command(
            config, Invocation(resume=wanted.resume, reporter=StrikingReporter(at, kill))
        )
    except Killed:
        if wanted.killed is not None:
            raise
        return {}
    return report


def write_runs(runs: list[Run], file: Path) -> None:
    """For `main` to read."""
    file.write_text(json.dumps([asdict(wanted) for wanted in runs]), encoding="utf-8")


def reports(file: Path) -> list[dict[str, Any]]:
    """What `main` has written."""
    found: list[dict[str, Any]] = json.loads(file.with_suffix(".reports").read_text(encoding="utf-8"))
    return found


def main(file: Path) -> None:
    """Run all that the file holds."""
    import nlptl
    from nlptl import processes

    nlptl.register_families()
    processes.meet("cpu")
    done = [run(Run(**values)) for values in json.loads(file.read_text(encoding="utf-8"))]
    if processes.is_leader():
        file.with_suffix(".reports").write_text(json.dumps(done), encoding="utf-8")
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
