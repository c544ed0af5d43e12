"""How a command was called, apart from its config."""

from __future__ import annotations

from dataclasses import dataclass, field

from nlptl.training.progress import Reporter


@dataclass(frozen=True)
class Invocation:
    """What the command line says beside the config of the run.

    Attributes:
        resume, force: what to do with an output folder that is not empty.
        dry_run: validate, say what would be done, do nothing.
        reporter: where progress and notes go.
    """

    resume: bool = False
    force: bool = False
    dry_run: bool = False
    reporter: Reporter = field(default_factory=Reporter)
