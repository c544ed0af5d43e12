"""Data that changes or vanishes under the reader: a clear error, and never half of it that passes for the whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Scene

SHARE = 20  # further places and times, one of each for so many kills, by each kind of damage
MOST = 4  # openings of the file that are struck
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("damage", ["vanishes", "shrinks", "halves", "grows"])
def test_data_that_changes(scene: Scene, damage: str, tmp_path: Path) -> None:
    job, count, draw = scene.job, scene.count, random.Random(f"{scene.name} {damage}")
    moments: list[dict[str, Any]] = [
        {"opening": opening} for opening in spread(range(2, scene.undisturbed.readings + 1), MOST)
    ]
    for _ in range(max(1, scene.strikes // SHARE)):
        moments.append({"place": draw.randint(1, scene.undisturbed.places)})
        moments.append({"after": round(draw.uniform(0, scene.undisturbed.seconds), 3)})
    for turn, moment in enumerate(moments):
        folder, where = job.prepare(tmp_path / str(turn)), f"{damage} {moment}"
        data = folder / job.data[0]
        ended = scene.run(folder, file=str(data), damage=damage, **moment)
        count.count(ended, where, struck=not data.exists() or data.read_bytes() != job.data[1].read_bytes())
        if ended.code == 0 and (found := scene.result(folder)) != scene.expected:
            # That of the changed data, should they have changed before they were first looked at.
            ended = scene.run(folder, "--force")
            if ended.code or scene.result(folder) != found:
                count.lost.append(f"{where}: the result of half the data")
        job.restore(folder)
        ended = scene.run(folder, *([job.go_on] if (folder / job.output).exists() else []))
        # It may have begun with other data: that is said.
        count.judge(ended, f"{where}, then with the old data")
        if ended.code:
            ended = scene.run(folder, "--force")
        if ended.code or scene.result(folder) != scene.expected:
            count.lost.append(f"{where}: another result with the old data {ended.said[-200:]}")
        else:
            count.equal += 1


def spread(numbers: range, most: int) -> list[int]:
    """At most so many of them, the first and the last among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(turn * (len(numbers) - 1) / (most - 1))] for turn in range(most)]
