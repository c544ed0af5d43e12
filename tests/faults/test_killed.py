"""SIGKILL at random moments of every command, half of them where it writes: what goes on ends as if undisturbed."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Scene
from tests.faults.striking import Ended, last_step

FORMER = 3  # every third run replaces what a former one has left
CHAIN = 4  # kills of a run and of what goes on with it, at most, before it may go on to its end
pytestmark = [pytest.mark.faults, pytest.mark.timeout(4 * 3600)]


def test_killed(scene: Scene, former: Callable[[str, Path], None], tmp_path: Path) -> None:
    job, count, draw = scene.job, scene.count, random.Random(scene.name)
    number, killed = 0, 0
    while killed < scene.strikes:
        folder, known = job.prepare(tmp_path / str(number)), []
        afresh = number % FORMER == FORMER - 1
        if afresh:
            former(scene.name, folder)
            known.append(scene.result(folder))
        more, step, where = ["--force"] * afresh, 0, "over a former output" if afresh else "anew"
        for turn in range(draw.randint(1, CHAIN)):
            # What goes on has less to do than the whole: its strikes are drawn from a shorter time.
            strike = moment(draw, scene.undisturbed, 1 if turn == 0 else 0.6)
            where = f"{where}, {strike}"
            ended = scene.run(folder, *more, **strike)
            hit = ended.code == -signal.SIGKILL
            killed += hit
            if hit:
                count.strikes += 1
                count.lost += [f"{where}: {ended.orphans} processes go on"] if ended.orphans else []
            else:
                count.count(ended, where, struck=False, codes=(2,))  # the run that is there is the former one
            scene.look(folder, where, *known)
            if turn and last_step(folder / job.output) < step:
                count.lost.append(f"{where}: its last checkpoint is gone")
            if not hit:
                break
            step, more = last_step(folder / job.output), [job.go_on]
        scene.finish(folder, where)
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
