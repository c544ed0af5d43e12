"""Layer groups -> optimizer groups with discriminative learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def discriminative_rates(groups: int, learning_rate: float, decay: float = 2.6) -> list[float]:
    """Rates bottom to top: each group learns `decay` times slower than the one above (Howard & Ruder 2018, 3.2)."""
    return [learning_rate / decay ** (groups - 1 - level) for level in range(groups)]


def param_groups(
    layer_groups: Sequence[Sequence[nn.Parameter]], learning_rate: float, decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups of all parameters, trained at present or not, so that a resumed run finds the same groups.

    Args:
        layer_groups: bottom to top, each parameter exactly once.
        learning_rate: of the top group.
        weight_decay: for matrices; vectors (biases, gains) get none.

    Returns:
        One or two groups a layer group, each with its `level` (0 is the bottom).
    """
    result = []
    rates = discriminative_rates(len(layer_groups), learning_rate, decay)
    for level, (parameters, rate) in enumerate(zip(layer_groups, rates, strict=True)):
        for decayed in (True, False):
            chosen = [p for p in parameters if (p.dim() > 1) == decayed]
            if chosen:
                wd = weight_decay if decayed else 0.0
                result.append({"params": chosen, "lr": rate, "weight_decay": wd, "level": level})
    return result
