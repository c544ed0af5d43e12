"""Ctrl-C and SIGTERM where a command writes: it stops clearly, at the second at once, and goes on as if undisturbed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.striking import NAMES, Ended, Forge, Job, half_written
from tests.faults.tally import TallyOf
from tests.faults.test_killed import finish

SHARE = 10  # interruptions, one for so many kills, of each kind
NEXT = 4  # places that lie between two signals, at most
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", NAMES)
def test_interrupted(
    name: str,
    number: signal.Signals,
    twice: bool,
    jobs: dict[str, Job],
    forge: Forge,
    strikes: int,
    whole: Callable[[str], tuple[Path, Ended]],
    tally: TallyOf,
    tmp_path: Path,
) -> None:
    job, (reference, undisturbed), count = jobs[name], whole(name), tally(name)
    expected = job.result(reference / job.output)
    draw = random.Random(f"{name} {number.name} {twice}")
    for turn in range(max(1, strikes // SHARE)):
        folder = job.prepare(tmp_path / str(turn))
        strike = {"place": draw.randint(1, undisturbed.places)}
        if twice:
            strike["place_again"] = strike["place"] + draw.randint(1, NEXT)
        where = f"{number.name} at {strike}"
        ended = forge.run(job.line(), folder, signal=number, **strike)
        # After its last step a run that was asked to stop is done before it can.
        count.count(ended, where, struck=ended.code != 0, codes=(130,))
        count.lost += [
            f"{where}: {each}" for each in half_written(job, folder, reference / job.output, [expected])
        ]
        finish(job, forge, folder, expected, count, where)
