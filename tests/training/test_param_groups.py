"""Optimizer groups: the discriminative rates, and every parameter once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from nlptl.training.param_groups import discriminative_rates, param_groups

PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "ulmfit"


@pytest.fixture
def layer_groups() -> list[list[nn.Parameter]]:
    modules = [nn.Embedding(5, 3), nn.LSTM(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)]
    return [list(module.parameters()) for module in modules]


@pytest.mark.skipif(not PARITY.is_dir(), reason="../shared/parity is absent")
def test_rates_are_those_of_the_authors() -> None:
    facts = json.loads((PARITY / "schedules.json").read_text())["discriminative"]
    rates = discriminative_rates(len(facts["groups"]), facts["lr_top"], facts["factor"])
    assert rates == pytest.approx(facts["lr"], rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("groups", "decay", "rates"),
    [(1, 2.6, [0.01]), (3, 2.0, [0.0025, 0.005, 0.01]), (3, 1.0, [0.01, 0.01, 0.01])],
)
def test_each_group_learns_slower_than_the_one_above(groups: int, decay: float, rates: list[float]) -> None:
    assert discriminative_rates(groups, 0.01, decay) == pytest.approx(rates)


def test_each_parameter_is_in_one_group_with_the_rate_of_its_level(
    layer_groups: list[list[nn.Parameter]],
) -> None:
    groups = param_groups(layer_groups, 0.01, 2.6, weight_decay=0.1)
    placed = {id(p): (group["level"], group["lr"]) for group in groups for p in group["params"]}
    expected = {
        id(p): (level, pytest.approx(0.01 / 2.6 ** (3 - level)))
        for level, layer in enumerate(layer_groups)
        for p in layer
    }
    assert placed == expected
    assert sum(len(group["params"]) for group in groups) == len(expected)


def test_matrices_decay_and_vectors_do_not(layer_groups: list[list[nn.Parameter]]) -> None:
    for group in param_groups(layer_groups, 0.01, 2.6, weight_decay=0.1):
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_frozen_parameters_have_their_groups_too_so_that_a_resumed_run_finds_them(
    layer_groups: list[list[nn.Parameter]],
) -> None:
    free = param_groups(layer_groups, 0.01, 2.6, weight_decay=0.1)
    for parameter in layer_groups[0] + layer_groups[1]:
        parameter.requires_grad_(False)
    frozen = param_groups(layer_groups, 0.01, 2.6, weight_decay=0.1)
    assert [len(group["params"]) for group in frozen] == [len(group["params"]) for group in free]
    first, second = torch.optim.AdamW(free), torch.optim.AdamW(frozen)
    second.load_state_dict(first.state_dict())


def test_levels_go_up_so_that_the_last_group_is_the_top(layer_groups: list[list[nn.Parameter]]) -> None:
    levels = [group["level"] for group in param_groups(layer_groups, 0.01, 2.6, weight_decay=0.1)]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2, 3}
