"""The harness of the benchmarks: medians, ratios within a round, and measurements that die."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"
TASKS = '''
import os
import signal
from pathlib import Path

import side_by_side


def measured(speed, memory, log):
    """Figures as given; each call is noted."""
    with open(log, "a") as file:
        file.write(f"{speed}\\n")
    print("said on the way")
    return {"speed": speed, "memory": memory, "loss": 2.5, "gflops": 1.0, "precision": "fp32"}


def dying(speed, memory, log):
    if speed < 2:
        raise ValueError("no such thing")
    os.kill(os.getpid(), signal.SIGKILL)


def either(speed, memory, log):
    return (dying if memory < 0 else measured)(speed, memory, log)


def names():
    return [__name__, os.environ.get("NOTHING", "")]
'''


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, imported as the scripts import it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import side_by_side

    return side_by_side


@pytest.fixture
def tasks(harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Tasks of a script of their own; the machine is not looked at."""
    (tmp_path / "tasks_of_a_script.py").write_text(TASKS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tasks_of_a_script", raising=False)
    import tasks_of_a_script

    in_child: Callable[..., Any] = harness.in_child
    known = {"machine": {"cores": 1}, "matrix_product_peaks": {"fp32": 4.0}}

    def quick(task: Any, **values: Any) -> Any:
        return known[task.__name__] if task.__name__ in known else in_child(task, **values)

    monkeypatch.setattr(harness, "in_child", quick)
    return tasks_of_a_script


def system(harness: Any, name: str, against: str = "peer", **values: Any) -> Any:
    return harness.System(name, values, against)


def test_ratios_are_taken_within_a_round(harness: Any) -> None:
    """The machine slows down from round to round, and the ratio stays: it is not one of medians."""
    peer, own = system(harness, "peer"), system(harness, "own")
    runs = {
        "peer": [{"speed": 10.0, "memory": 100}, {"speed": 4.0, "memory": 100}, {"speed": 1.0, "memory": 90}],
        "own": [{"speed": 20.0, "memory": 50}, {"speed": 20.0, "memory": 25}, {"speed": 2.0, "memory": 45}],
    }
    cells = harness.medians([peer, own], runs)
    assert cells["peer"] == {"speed": 4.0, "memory": 100, "speed ratio": 1.0, "memory ratio": 1.0}
    assert cells["own"] == {"speed": 20.0, "memory": 45, "speed ratio": 2.0, "memory ratio": 0.5}


def test_the_share_of_the_peak_is_of_the_best_round_in_the_same_precision(harness: Any) -> None:
    runs = {
        "own": [
            {"speed": 1.0, "gflops": 5.0, "precision": "bf16"},
            {"speed": 1.0, "gflops": 8.0, "precision": "bf16"},
        ]
    }
    peaks = [{"fp32": 5.0, "bf16": 13.0}, {"fp32": 90.0, "bf16": 8.0}]
    cell = harness.medians([system(harness, "own")], runs, peaks)["own"]
    assert cell["share of the peak"] == pytest.approx(0.5)
    assert "precision" not in cell


def test_without_its_peer_a_system_has_figures_and_no_ratio(harness: Any) -> None:
    runs = {"peer": [{"failed": "memory ran out"}], "own": [{"speed": 3.0, "memory": 5.0}]}
    cells = harness.medians([system(harness, "peer"), system(harness, "own")], runs)
    assert cells == {"peer": {"failed": "memory ran out"}, "own": {"speed": 3.0, "memory": 5.0}}
    assert [harness.told(cell) for cell in cells.values()] == ["memory ran out", "3; 5"]


def test_a_child_returns_its_result_or_how_it_died(harness: Any, tasks: Any, tmp_path: Path) -> None:
    values = {"memory": 1.0, "log": str(tmp_path / "log")}
    assert harness.in_child(tasks.names) == ["tasks_of_a_script", ""]
    assert harness.in_child(tasks.measured, speed=3.0, **values)["speed"] == 3.0
    assert harness.in_child(tasks.dying, speed=1.0, **values) == {"failed": "ValueError: no such thing"}
    killed = harness.in_child(tasks.dying, speed=2.0, **values)
    assert killed == {"failed": "killed by signal 9, memory ran out?"}


def test_systems_take_turns_and_the_dead_are_not_tried_again(
    harness: Any, tasks: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, ratios and failures are in the JSON file and in the table."""
    log, output = tmp_path / "log", tmp_path / "figures.json"
    systems = [
        system(harness, "peer", speed=2.0, memory=10.0),
        system(harness, "own", speed=6.0, memory=5.0),
        system(harness, "dead", speed=3.0, memory=-1.0),
        system(harness, "unwanted", speed=9.0, memory=1.0),
    ]
    job = harness.Job("reading", "texts a second", tasks.either, {"log": str(log)}, systems)
    line = ["--rounds", "2", "--output", str(output), "--systems", "peer", "own", "dead"]
    harness.compare([job], harness.option_parser("").parse_args(line), told_before="hello")

    assert log.read_text(encoding="utf-8").split() == ["2.0", "6.0", "2.0", "6.0"]
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["told_before"] == "hello"
    assert len(report["peaks"]) == 2
    assert {name: len(runs) for name, runs in report["runs"]["reading"].items()} == {
        "peer": 2,
        "own": 2,
        "dead": 1,
    }
    assert report["medians"]["reading"]["own"]["speed ratio"] == 3.0
    table = output.with_suffix(".md").read_text(encoding="utf-8")
    assert table == capsys.readouterr().out
    assert "| own | 6 (3.00 ×); 5 (0.50 ×); loss 2.5; 25% of the peak |" in table
    assert "| dead | killed by signal 9, memory ran out? |" in table
    assert "unwanted" not in table
    assert "Medians of 2 rounds. Machine: cores 1." in table
