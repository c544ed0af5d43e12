"""Interruptions, and data that changes under the reader: the run ends clearly or goes on to the same result."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.striking import Ended, Forge, Job, Tally, half_written
from tests.faults.test_killed import NAMES, finish

SHARE = 10  # interruptions, one for so many kills, by each signal
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", NAMES)
def test_interrupted(
    name: str,
    number: signal.Signals,
    jobs: dict[str, Job],
    forge: Forge,
    strikes: int,
    whole: Callable[[str], tuple[Path, Ended]],
    tally: Callable[[str], Tally],
    tmp_path: Path,
) -> None:
    job, (reference, undisturbed), count = jobs[name], whole(name), tally(name)
    expected = job.result(reference / job.output)
    draw = random.Random(name)
    for turn in range(max(1, strikes // SHARE)):
        folder = job.prepare(tmp_path / str(turn))
        place = draw.randrange(1, undisturbed.places + 1)
        ended = forge.run(job.line(), folder, signal=number, place=place)
        count.strikes += 1
        where = f"{number.name} at place {place}"
        if ended.code and not (ended.code == 130 and ended.is_clear):
            count.lost.append(f"{where}: exit code {ended.code}: {ended.said[-300:]}")
        count.clear += ended.code == 130 and ended.is_clear
        count.lost += [
            f"{where}: {each}" for each in half_written(job, folder, reference / job.output, [expected])
        ]
        finish(job, forge, folder, expected, count, where)


@pytest.mark.parametrize("damage", ["vanishes", "shrinks", "grows"])
@pytest.mark.parametrize("name", NAMES)
def test_data_that_changes_between_two_readings(
    name: str,
    damage: str,
    jobs: dict[str, Job],
    forge: Forge,
    whole: Callable[[str], tuple[Path, Ended]],
    tally: Callable[[str], Tally],
    tmp_path: Path,
) -> None:
    """A clear error; never output of half the data that passes for that of the whole."""
    job, (reference, _), count = jobs[name], whole(name), tally(name)
    for opening in (2, 3, 4):
        folder = job.prepare(tmp_path / str(opening))
        data = str(folder / job.data[0])
        ended = forge.run(job.line(), folder, file=data, opening=opening, damage=damage)
        count.strikes += 1
        count.clear += ended.code != 0 and ended.is_clear
        if ended.code and not ended.is_clear:
            count.lost.append(f"{damage} at opening {opening}: exit code {ended.code}: {ended.said[-300:]}")
        (folder / job.data[0]).write_bytes(job.data[1].read_bytes())
        go_on = [job.go_on] if (folder / job.output).exists() else []
        ended = forge.run(job.line(*go_on), folder)
        if ended.code and ended.is_clear:  # it has begun with other data: that is said
            ended = forge.run(job.line("--force"), folder)
        if ended.code or job.result(folder / job.output) != job.result(reference / job.output):
            count.lost.append(
                f"{damage} at opening {opening}: another result with the old data {ended.said[-200:]}"
            )
        else:
            count.equal += 1
