"""GPT's Adam and its schedule against the figures of the original program."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nlptl.training.optimizers import OpenAIAdam
from nlptl.training.param_groups import param_groups
from nlptl.training.schedules import linear_decay

PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "gpt"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    if not PARITY.is_dir():
        pytest.skip("../shared/parity is absent")
    found: dict[str, Any] = json.loads((PARITY / "optimizer.json").read_text())
    return found


def test_the_schedule_is_the_original_s(facts: dict[str, Any]) -> None:
    schedule = facts["schedule"]
    total, warmup = schedule["t_total"], schedule["warmup"]
    rates = [schedule["lr"] * linear_decay(row["update"] - 1, total, warmup) for row in schedule["values"]]
    assert rates == pytest.approx([row["lr"] for row in schedule["values"]], rel=1e-9, abs=1e-15)
    assert linear_decay(1, 100) == linear_decay(1, 100, 0.002)  # which is the share of the recipe


@pytest.mark.parametrize("fused", [False, True])
def test_six_steps_are_the_original_s(facts: dict[str, Any], fused: bool) -> None:
    """With gradients clipped to a norm of 1, a schedule, and decay of the matrix alone."""
    adam = facts["adam"]
    given = adam["settings"]
    parameters = [nn.Parameter(torch.tensor(values)) for values in adam["initial"]]
    groups = param_groups([parameters], given["lr"], 1.0, given["l2"])
    optimizer = OpenAIAdam(groups, betas=(given["b1"], given["b2"]), eps=given["eps"], fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: linear_decay(step, given["t_total"], given["warmup"])
    )
    for step in adam["steps"]:
        for parameter, gradient in zip(parameters, step["gradients"], strict=True):
            parameter.grad = torch.tensor(gradient)
        norm = nn.utils.clip_grad_norm_(parameters, given["max_grad_norm"])
        assert float(norm) == pytest.approx(step["global_norm"], rel=1e-5)
        optimizer.step()
        schedule.step()
        for parameter, expected in zip(parameters, step["params"], strict=True):
            torch.testing.assert_close(parameter.detach(), torch.tensor(expected), rtol=0, atol=1e-6)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [given["l2"], 0.0]


def steps_of(
    optimizer: OpenAIAdam, parameters: list[nn.Parameter], gradients: list[list[Tensor | None]]
) -> None:
    for row in gradients:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient
        optimizer.step()


def test_a_parameter_unfrozen_later_is_decayed_by_its_own_step() -> None:
    """The decay of a first update is small, whenever that is; one without a gradient is left as it is."""
    torch.manual_seed(0)
    start, gradient = torch.randn(3, 2), torch.randn(3, 2)
    early, late = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = OpenAIAdam([{"params": [early, late]}], lr=0.1, weight_decay=0.5)
    steps_of(optimizer, [early, late], [[gradient, None]])
    assert torch.equal(late.detach(), start)
    first = early.detach().clone()
    steps_of(optimizer, [early, late], [[gradient, gradient]])
    torch.testing.assert_close(late.detach(), first)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_overflows_changes_nothing(fused: bool) -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = OpenAIAdam([parameter], lr=0.1, weight_decay=0.5, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    seen = []
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((parameter * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(parameter.detach().clone())
    assert torch.equal(seen[1], seen[0])
    assert not torch.equal(seen[2], seen[1])


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    whole, gradients = nn.Parameter(torch.randn(3, 2)), [[torch.randn(3, 2)] for _ in range(5)]
    begun = nn.Parameter(whole.detach().clone())
    first = OpenAIAdam([whole], lr=0.1, weight_decay=0.5)
    steps_of(first, [whole], gradients)
    second = OpenAIAdam([begun], lr=0.1, weight_decay=0.5)
    steps_of(second, [begun], gradients[:2])
    third = OpenAIAdam([begun], lr=0.3)
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    steps_of(third, [begun], gradients[2:])
    assert torch.equal(begun, whole)
