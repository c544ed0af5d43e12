"""SIGKILL at random moments of every command, half of them where it writes: what goes on ends as if undisturbed."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.striking import NAMES, Ended, Forge, Job, half_written, last_step
from tests.faults.tally import Tally, TallyOf

FORMER = 3  # every third run replaces what a former one has left
CHAIN = 4  # kills of a run and of what goes on with it, at most, before it may go on to its end
pytestmark = [pytest.mark.faults, pytest.mark.timeout(4 * 3600)]


@pytest.mark.parametrize("name", NAMES)
def test_killed(
    name: str,
    jobs: dict[str, Job],
    forge: Forge,
    strikes: int,
    whole: Callable[[str], tuple[Path, Ended]],
    former: Callable[[str, Path], None],
    tally: TallyOf,
    tmp_path: Path,
) -> None:
    job, (reference, undisturbed), count = jobs[name], whole(name), tally(name)
    expected = job.result(reference / job.output)
    draw = random.Random(name)
    number, killed = 0, 0
    while killed < strikes:
        folder, known = job.prepare(tmp_path / str(number)), [expected]
        afresh = number % FORMER == FORMER - 1
        if afresh:
            former(name, folder)
            known.append(job.result(folder / job.output))
        line, step, where = job.line(*["--force"] * afresh), 0, "over a former output" if afresh else "anew"
        for turn in range(draw.randint(1, CHAIN)):
            # What goes on has less to do than the whole: its strikes are drawn from a shorter time.
            strike = moment(draw, undisturbed, 1 if turn == 0 else 0.6)
            where = f"{where}, {strike}"
            ended = forge.run(line, folder, **strike)
            hit = ended.code == -signal.SIGKILL
            killed += hit
            if hit:
                count.strikes += 1
                count.lost += [f"{where}: {ended.orphans} processes go on"] if ended.orphans else []
            else:
                count.count(ended, where, struck=False, codes=(2,))  # the run that is there is the former one
            count.lost += [
                f"{where}: {each}" for each in half_written(job, folder, reference / job.output, known)
            ]
            if turn and last_step(folder / job.output) < step:
                count.lost.append(f"{where}: its last checkpoint is gone")
            if not hit:
                break
            step, line = last_step(folder / job.output), job.line(job.go_on)
        finish(job, forge, folder, expected, count, where)
        shutil.rmtree(folder)
        number += 1


def moment(draw: random.Random, undisturbed: Ended, share: float) -> dict[str, Any]:
    """When to kill: at a place where something is written, or after some time."""
    strike: dict[str, Any] = {"signal": signal.SIGKILL}
    if draw.random() < 0.5:
        strike["place"] = draw.randint(1, max(1, round(share * undisturbed.places)))
    else:
        strike["after"] = round(draw.uniform(0, share * undisturbed.seconds), 3)
    return strike


def finish(job: Job, forge: Forge, folder: Path, expected: Any, count: Tally, where: str) -> None:
    """Go on to the end, or where that is clearly refused start afresh; the result is that of an undisturbed run."""
    ended = forge.run(job.line(job.go_on), folder)
    count.judge(ended, f"{where}, then {job.go_on}")
    if ended.code and ended.is_clear:
        ended = forge.run(job.line("--force"), folder)
        count.judge(ended, f"{where}, then --force", codes=())
    if ended.code:
        count.lost.append(f"{where}: it does not go on")
    elif job.result(folder / job.output) != expected:
        count.lost.append(f"{where}: the result is another")
    elif left := [path.name for path in (folder / job.output).parent.rglob(".*.partial")]:
        count.lost.append(f"{where}: {left} stay behind")
    else:
        count.equal += 1
