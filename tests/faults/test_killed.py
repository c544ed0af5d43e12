"""SIGKILL at random moments of every command, half of them where it writes: what goes on ends as if undisturbed."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.striking import Ended, Forge, Job, Tally, half_written, last_step

NAMES = (
    "pretrain ulmfit", "pretrain gpt", "finetune ulmfit", "finetune gpt", "finetune freeze", "extract-features parquet",
    "extract-features npy", "predict", "compare",
)  # fmt: skip
FORMER = 4  # every fourth run replaces what a former one has left
TWICE = 3  # every third is struck once more when it goes on
pytestmark = [pytest.mark.faults, pytest.mark.timeout(4 * 3600)]


@pytest.mark.parametrize("name", NAMES)
def test_killed(
    name: str,
    jobs: dict[str, Job],
    forge: Forge,
    strikes: int,
    whole: Callable[[str], tuple[Path, Ended]],
    former: Callable[[str, Path], None],
    tally: Callable[[str], Tally],
    tmp_path: Path,
) -> None:
    job, (reference, undisturbed), count = jobs[name], whole(name), tally(name)
    draw = random.Random(name)
    for number in range(strikes):
        folder = job.prepare(tmp_path / str(number))
        known = [job.result(reference / job.output)]
        afresh = number % FORMER == FORMER - 1
        if afresh:
            former(name, folder)
            if (folder / job.output).exists():
                known.append(job.result(folder / job.output))
        strike: dict[str, Any] = {"signal": signal.SIGKILL}
        if number % 2:
            strike["place"] = draw.randrange(1, undisturbed.places + 1)
        else:
            strike["after"] = draw.uniform(0, undisturbed.seconds)
        where = f"{strike}{' over a former output' if afresh else ''}"
        ended = forge.run(job.line("--force") if afresh and known[1:] else job.line(), folder, **strike)
        count.strikes += 1
        count.lost += judged(job, folder, reference, ended, known, where)
        if number % TWICE == TWICE - 1 and ended.code == -signal.SIGKILL:
            before = last_step(folder / job.output)
            again = {"signal": signal.SIGKILL, "after": draw.uniform(0, undisturbed.seconds)}
            ended = forge.run(job.line(job.go_on), folder, **again)
            count.strikes += 1
            count.lost += judged(job, folder, reference, ended, known, f"{where}, then {again}")
            if ended.code == -signal.SIGKILL and last_step(folder / job.output) < before:
                count.lost.append(f"{where}: its last checkpoint is gone")
        finish(job, forge, folder, known[0], count, where)
        shutil.rmtree(folder)


def judged(job: Job, folder: Path, reference: Path, ended: Ended, known: list[Any], where: str) -> list[str]:
    """What is wrong after a strike."""
    wrong = half_written(job, folder, reference / job.output, known)
    if ended.orphans:
        wrong.append(f"{ended.orphans} processes go on without end")
    if ended.code not in (0, -signal.SIGKILL):
        wrong.append(f"exit code {ended.code}: {ended.said[-300:]}")
    return [f"{where}: {each}" for each in wrong]


def finish(job: Job, forge: Forge, folder: Path, expected: Any, count: Tally, where: str) -> None:
    """Go on to the end, or where that is clearly refused start afresh; the result is that of an undisturbed run."""
    ended = forge.run(job.line(job.go_on), folder)
    if ended.code and ended.is_clear:
        count.clear += 1
        ended = forge.run(job.line("--force"), folder)
    if ended.code:
        count.lost.append(f"{where}: it does not go on: exit code {ended.code}: {ended.said[-300:]}")
    elif job.result(folder / job.output) != expected:
        count.lost.append(f"{where}: the result is another")
    elif left := [path.name for path in (folder / job.output).parent.rglob(".*.partial")]:
        count.lost.append(f"{where}: {left} stay behind")
    else:
        count.equal += 1
