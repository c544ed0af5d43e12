"""Gradual unfreezing: what is trained is a function of the epoch alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from nlptl.training.unfreezing import GradualUnfreezing, freeze_below, trained_groups


@pytest.fixture
def layer_groups() -> list[list[nn.Parameter]]:
    return [[nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))] for _ in range(4)]


def trained(layer_groups: list[list[nn.Parameter]]) -> list[bool]:
    """Whether each group is trained; a group is never so in part."""
    assert all(len({p.requires_grad for p in group}) == 1 for group in layer_groups)
    return [group[0].requires_grad for group in layer_groups]


@pytest.mark.parametrize(
    ("epoch", "groups", "expected"), [(0, 4, 1), (1, 4, 2), (3, 4, 4), (9, 4, 4), (0, 1, 1)]
)
def test_one_more_group_is_trained_each_epoch(epoch: int, groups: int, expected: int) -> None:
    assert trained_groups(epoch, groups) == expected


@pytest.mark.parametrize("count", range(5))
def test_the_top_groups_are_trained_and_no_other(layer_groups: list[list[nn.Parameter]], count: int) -> None:
    freeze_below(layer_groups, count)
    assert trained(layer_groups) == [False] * (4 - count) + [True] * count


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (None, [False, False, False, True]),
        (0.0, [False, False, False, True]),
        (1.0, [False, False, True, True]),
        (1.5, [False, False, True, True]),  # resumed in the middle of the second epoch
        (7.0, [True, True, True, True]),
    ],
)
def test_the_callback_follows_the_epoch_and_needs_no_memory_of_its_own(
    layer_groups: list[list[nn.Parameter]], tmp_path: Path, epoch: float | None, expected: list[bool]
) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    GradualUnfreezing(layer_groups).on_epoch_begin(arguments, TrainerState(epoch=epoch), TrainerControl())
    assert trained(layer_groups) == expected
