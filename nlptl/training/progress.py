"""What a training run says while it runs: a bar on a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nlptl.errors import legible

SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Says on standard error how far a stage is, how fast, and how long it will take.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._spoken = 0.0

    def note(self, text: str) -> None:
        """One line for the user."""
        if not self.quiet:
            self.console.print(legible(text), markup=False, soft_wrap=True)

    def start(self, stage: str, total: int | None) -> None:
        """A stage of `total` steps begins."""
        self.stage, self.total, self._spoken = stage, total, time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}")]
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(stage, total=total, figures="")

    def advance(self, done: int, figures: str, seconds_left: float | None = None) -> None:
        """The stage has done `done` steps in all."""
        if self.quiet:
            return
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif time.monotonic() - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = time.monotonic()
            of = f"/{self.total}" if self.total else ""
            left = f", {duration(seconds_left)} left" if seconds_left is not None else ""
            self.note(f"{self.stage}: {done}{of}, {figures}{left}")

    def finish(self) -> None:
        """The stage is over."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def figures_line(figures: dict[str, Any]) -> str:
    """`loss 4.213, 18,400 tokens/s` from the figures that are there."""
    parts = []
    if "loss" in figures:
        parts.append(f"loss {figures['loss']:.4f}")
    if "tokens_per_second" in figures:
        parts.append(f"{figures['tokens_per_second']:,.0f} tokens/s")
    return ", ".join(parts)
