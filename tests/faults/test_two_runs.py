"""Two runs on one output at once: the second is refused, whenever it comes, and the first is none the worse for it."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.striking import Ended

SHARE = 10  # rivals, one for so many kills
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def test_two_runs_on_one_output(scene: Scene, tmp_path: Path) -> None:
    """The first stops at some place, a second comes and ends, and the first goes on."""
    job, count, draw = scene.job, scene.count, random.Random(f"{scene.name} rivals")
    for turn in range(max(2, scene.strikes // SHARE)):
        folder = job.prepare(tmp_path / str(turn))
        more = [[], ["--force"], [job.go_on]][turn % 3]
        place = draw.randint(1, scene.undisturbed.places)
        first = scene.run(folder, signal=signal.SIGSTOP, place=place, rival=job.line(*more))
        where = f"a second run {more} at place {place}"
        if first.rival is None:
            count.early += 1
            continue
        second = Ended(**first.rival)
        count.count(second, where, codes=(2,))
        count.judge(first, f"{where}: the first", codes=(2,))
        if first.code and second.code:
            count.lost.append(f"{where}: neither is done: {first.said[-200:]} {second.said[-200:]}")
        elif scene.result(folder) != scene.expected:
            count.lost.append(f"{where}: the result is another")
        else:
            count.equal += 1
