"""What came of the strikes, counted for each job, and the table and the file of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.striking import Ended


@dataclass
class Tally:
    """What came of the strikes at one job.

    Attributes:
        strikes: that hit.
        early: runs that had ended before their strike.
        equal: struck runs that have reached the result of an undisturbed one in the end.
        clear: runs that ended with a clear error.
        native: runs without memory that native code has ended.
        unclear: runs that ended otherwise, and where.
        lost: what was lost, half-written, or another than it should be, and where.
    """

    strikes: int = 0
    early: int = 0
    equal: int = 0
    clear: int = 0
    native: int = 0
    unclear: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """In the order of the table."""
        return {
            "strikes": self.strikes,
            "resumed equal": self.equal,
            "clear errors": self.clear,
            "native ends": self.native,
            "ended before": self.early,
            "unclear": len(self.unclear),
            "lost": len(self.lost),
        }

    def count(
        self, ended: Ended, where: str, *, struck: bool = True, codes: Iterable[int] = (1, 2, 130)
    ) -> None:
        """One run that was to be struck.

        Args:
            struck: whether the strike hit it.
            codes: with which it may end, beside 0.
        """
        self.strikes += struck
        self.early += not struck
        self.judge(ended, where, codes=codes)

    def judge(self, ended: Ended, where: str, *, codes: Iterable[int] = (1, 2, 130)) -> None:
        """How a run ended that had a reason to fail."""
        clear = ended.is_clear and ended.code in codes
        self.clear += clear
        if ended.hung:
            self.lost.append(f"{where}: hangs: {ended.said[-2000:]}")
        elif ended.code and not clear:
            self.unclear.append(f"{where}: exit code {ended.code}: {ended.said[-600:]}")
        if ended.orphans:
            self.lost.append(f"{where}: {ended.orphans} processes go on without end")


def table(tallies: Mapping[str, Tally]) -> list[str]:
    """A line for each job, below a line of headings."""
    lines = []
    for name, tally in tallies.items():
        figures = tally.figures()
        lines = lines or ["".join([f"{'command':24}", *(f"{heading:>15}" for heading in figures)])]
        lines.append("".join([f"{name:24}", *(f"{figure:15}" for figure in figures.values())]))
    return lines


def write_figures(file: Path, tallies: Mapping[str, Tally]) -> None:
    """The table as JSON, with every word on what was unclear or lost."""
    values = {
        name: {**tally.figures(), "words": [*tally.unclear, *tally.lost]} for name, tally in tallies.items()
    }
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
