"""How a command was called, apart from its config."""

from __future__ import annotations

from dataclasses import dataclass, field

from nlptl.commands.command_line import typed_command
from nlptl.training.progress import Reporter


@dataclass(frozen=True)
class Invocation:
    """What the command line says beside the config of the run.

    Attributes:
        resume, force: what to do with an output folder that is not empty.
        dry_run: validate, say what would be done, do nothing.
        reporter: where progress and notes go.
        call: the command or the call of Python as it was written, for model cards and reports.
    """

    resume: bool = False
    force: bool = False
    dry_run: bool = False
    reporter: Reporter = field(default_factory=Reporter)
    call: str = field(default_factory=typed_command)
