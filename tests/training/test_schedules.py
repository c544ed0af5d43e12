"""Learning-rate schedules: tables of (step, rate), the values of the paper and of fastai, never below zero."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.training.schedules import (
    SCHEDULES,
    build_schedule,
    cosine,
    inverse_square_root,
    linear,
    slanted_triangular,
)

PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "ulmfit"


def recorded() -> dict[str, Any]:
    if not PARITY.is_dir():
        pytest.skip("../shared/parity is absent")
    facts: dict[str, Any] = json.loads((PARITY / "schedules.json").read_text())
    return facts


@pytest.mark.parametrize(("name", "total"), [("stlr_paper", "T"), ("circular_lr_fastai07", "nb")])
def test_slanted_triangular_is_that_of_the_paper_and_of_its_authors_program(name: str, total: str) -> None:
    facts = recorded()[name]
    rates = [facts["lr_max"] * slanted_triangular(step, facts[total]) for step in range(facts[total])]
    assert rates == pytest.approx(facts["lr"], rel=1e-12, abs=0)


# Worked by hand: up by equal parts over the first tenth, down by equal parts over the rest, 1/32 the lowest.
@pytest.mark.parametrize(
    ("total", "step", "rate"),
    [
        (100, 0, 1 / 32),
        (100, 5, (1 + 31 / 2) / 32),
        (100, 10, 1.0),
        (100, 55, (1 + 31 / 2) / 32),
        (100, 99, (1 + 31 / 90) / 32),
        (10, 0, 1 / 32),
        (10, 1, 1.0),
        (10, 9, (1 + 31 / 9) / 32),
        (4, 1, 1.0),
        (4, 3, (1 + 31 * 7 / 9) / 32),
        (19, 1, 1.0),  # the peak is rounded down to step 1, so the fall ends at step 10
        (19, 12, 1 / 32),
        (19, 18, 1 / 32),
    ],
)
def test_slanted_triangular(total: int, step: int, rate: float) -> None:
    assert slanted_triangular(step, total) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (1, 0.1), (10, 1.0), (55, 0.5), (99, 1 / 90), (100, 0.0)]
)
def test_linear_of_100_steps(step: int, rate: float) -> None:
    assert linear(step, 100) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(0, 1 / 6), (4, 5 / 6), (5, 1.0), (52.5, 0.5), (100, 0.0)])
def test_cosine_of_100_steps(step: int, rate: float) -> None:
    assert cosine(step, 100) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.1), (4, 0.5), (9, 1.0), (39, 0.5), (99, 10**-0.5)])
def test_inverse_square_root_of_100_steps(step: int, rate: float) -> None:
    assert inverse_square_root(step, 100) == pytest.approx(rate)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@settings(deadline=None)
@given(total=st.integers(1, 2000))
def test_a_rate_is_a_share_of_the_highest_at_any_length(name: str, total: int) -> None:
    rate = build_schedule(name, total)
    # torch asks for the rate after the last step too.
    rates = [rate(step) for step in range(total + 2)]
    assert min(rates) >= 0.0
    assert max(rates) <= 1.0 + 1e-12


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@settings(deadline=None)
@given(total=st.integers(20, 2000))
def test_a_rate_rises_once_and_then_falls(name: str, total: int) -> None:
    rates = [build_schedule(name, total)(step) for step in range(total)]
    peak = rates.index(max(rates))
    assert peak <= 0.1 * total + 1
    assert rates[peak] > 0.85  # a warm-up of 2.3 steps, say, meets no step at its very end
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[peak:]))


def test_torch_steps_through_a_schedule_with_one_rate_a_group() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.01, 0.1), strict=True)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, build_schedule("slanted-triangular", 20))
    seen = []
    for _ in range(20):
        seen.append(scheduler.get_last_lr())
        optimizer.step()
        scheduler.step()
    assert seen[2] == pytest.approx([0.01, 0.1])
    assert all(top == pytest.approx(10 * bottom) for bottom, top in seen)
