"""A job that is to be struck, beside one that nothing disturbs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.striking import Ended, Forge, Job, half_written
from tests.faults.tally import Tally


@dataclass(frozen=True)
class Scene:
    """All that a strike takes.

    Attributes:
        whole: the output of a run that nothing disturbed, how that run ended, and what it comes to.
        count: what came of the strikes at this job.
        strikes: how often it is to be killed; other strikes are a share of that.
    """

    name: str
    job: Job
    forge: Forge
    whole: Path
    undisturbed: Ended
    expected: Any
    count: Tally
    strikes: int

    def run(self, folder: Path, *more: str, **strike: Any) -> Ended:
        """The job's command line in a folder that was prepared, with what is added to it; see `Forge.run`."""
        return self.forge.run(self.job.line(*more), folder, **strike)

    def result(self, folder: Path) -> Any:
        """What the output in this folder comes to."""
        return self.job.result(folder / self.job.output)

    def look(self, folder: Path, where: str, *known: Any) -> None:
        """Note what would be taken for whole and is not; beside the result that is due others may be `known`."""
        found = half_written(self.job, folder, self.whole, [self.expected, *known])
        self.count.lost += [f"{where}: {each}" for each in found]

    def finish(self, folder: Path, where: str) -> None:
        """Go on to the end, or where that is clearly refused start afresh; the result is that of an undisturbed run."""
        job, count = self.job, self.count
        ended = self.run(folder, job.go_on)
        count.judge(ended, f"{where}, then {job.go_on}")
        if ended.code and ended.is_clear:
            ended = self.run(folder, "--force")
            count.judge(ended, f"{where}, then --force", codes=())
        if ended.code:
            count.lost.append(f"{where}: it does not go on")
        elif self.result(folder) != self.expected:
            count.lost.append(f"{where}: the result is another")
        elif left := [path.name for path in (folder / job.output).parent.rglob(".*.partial")]:
            count.lost.append(f"{where}: {left} stay behind")
        else:
            count.equal += 1
