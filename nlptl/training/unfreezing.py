"""Gradual unfreezing: which layer groups are trained is a function of the epoch, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def trained_groups(epoch: int, groups: int) -> int:
    """How many groups, from the top, are trained in an epoch: one more each (Howard & Ruder 2018, section 3.3)."""
    return min(epoch + 1, groups)


def freeze_below(layer_groups: Sequence[Sequence[nn.Parameter]], trained: int) -> None:
    """Train the top `trained` groups and nothing else."""
    for level, group in enumerate(layer_groups):
        for parameter in group:
            parameter.requires_grad_(level >= len(layer_groups) - trained)


class GradualUnfreezing(TrainerCallback):
    """Unfreezes one more layer group at the beginning of each epoch.

    Args:
        layer_groups: bottom to top.
    """

    def __init__(self, layer_groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self.layer_groups = layer_groups

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called again with a fractional epoch when a run is resumed, hence the rounding down."""
        freeze_below(self.layer_groups, trained_groups(int(state.epoch or 0), len(self.layer_groups)))
