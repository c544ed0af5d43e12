"""Ctrl-C and SIGTERM where a command writes: it stops clearly, at the second at once, and goes on as if undisturbed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.scene import Scene

SHARE = 10  # interruptions, one for so many kills, of each kind
NEXT = 4  # places that lie between two signals, at most
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(scene: Scene, number: signal.Signals, twice: bool, tmp_path: Path) -> None:
    draw = random.Random(f"{scene.name} {number.name} {twice}")
    for turn in range(max(1, scene.strikes // SHARE)):
        folder = scene.job.prepare(tmp_path / str(turn))
        strike = {"place": draw.randint(1, scene.undisturbed.places)}
        if twice:
            strike["place_again"] = strike["place"] + draw.randint(1, NEXT)
        where = f"{number.name} at {strike}"
        ended = scene.run(folder, signal=number, **strike)
        # After its last step a run that was asked to stop is done before it can.
        scene.count.count(ended, where, struck=ended.code != 0, codes=(130,))
        scene.look(folder, where)
        scene.finish(folder, where)
