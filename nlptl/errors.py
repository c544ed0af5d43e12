"""What can go wrong for a reason a user can mend: a cause, a place, a remedy, and the exit code."""

from __future__ import annotations

import re

# Control characters but for line breaks and tabs, marks that turn the direction of writing, and halves of pairs: what
# a label or a tensor of a stranger's file could steer a terminal with.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def legible(text: str) -> str:
    """`text` for a terminal, what would steer it spelled out as in JSON, of which the meaning stays the same."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class NlptlError(Exception):
    """An expected error, printed as `error: cause, where; remedy` without a traceback.

    Args:
        cause: what is wrong, in plain words, without a final full stop.
        where: the file, column, row or config key it was found in.
        remedy: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, cause: str, where: str | None = None, remedy: str | None = None) -> None:
        self.cause, self.where, self.remedy = cause, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        # A line break in a file's name must not look like the end of the message.
        where = None if self.where is None else self.where.replace("\n", "\\n")
        message = self.cause if where is None else f"{self.cause}, {where}"
        return message if self.remedy is None else f"{message}; {self.remedy}"


class UsageError(NlptlError):
    """The command line does not say what to do."""


class ConfigError(NlptlError):
    """The run's config is wrong; all its mistakes are in one error."""


class DataError(NlptlError):
    """A data source is absent, unreadable or unfit for the task."""


class ModelError(NlptlError):
    """A model, checkpoint or tokenizer is absent, damaged or of the wrong kind."""


class RunFailed(NlptlError):
    """The run failed after it began: memory, disk, a diverged loss, a threshold missed."""

    exit_code = 1


class ThresholdMissed(RunFailed):
    """A figure is below the least that was asked for; `report` holds what was measured all the same."""

    def __init__(self, cause: str, where: str, remedy: str, report: dict[str, object]) -> None:
        super().__init__(cause, where, remedy)
        self.report = report


class Interrupted(NlptlError):
    """Stopped by the user (SIGINT, SIGTERM) with the state saved."""

    exit_code = 130


class FailedElsewhere(NlptlError):
    """Another of several processes has failed, and has said why; this one ends with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of this command has failed", None, "see what it said")
        self.exit_code = exit_code
