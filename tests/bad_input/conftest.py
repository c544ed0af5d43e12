"""Counts what comes of the inputs and prints it at the end: `scripts/test tests/bad_input`, and with --faults more."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict

import pytest

from tests.bad_input.tally import Tally

TALLIES = pytest.StashKey[defaultdict[str, Tally]]()
FEW, MANY = 10, 500


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES] = defaultdict(Tally)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = config.stash[TALLIES]
    if not tallies:
        return
    names = list(asdict(Tally()))
    terminalreporter.section("strange input")
    terminalreporter.line(f"{'':24}" + "".join(f"{name:>12}" for name in names))
    for kind, tally in tallies.items():
        terminalreporter.line(f"{kind:24}" + "".join(f"{figure:12}" for figure in asdict(tally).values()))


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Tally:
    """That of the kind of input which a file of tests is about."""
    kind = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", " ")
    return request.config.stash[TALLIES][kind]


@pytest.fixture(
    params=[
        pytest.param(FEW, id="few"),
        pytest.param(MANY, id="many", marks=[pytest.mark.faults, pytest.mark.timeout(900)]),
    ]
)
def examples(request: pytest.FixtureRequest) -> int:
    """How many examples a property is tried on: few, the same each time, or many with --faults."""
    return int(request.param)
