"""Learning-rate schedules: the share of the highest rate at each step, as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def slanted_triangular(step: int, total: int, cut_fraction: float = 0.1, ratio: float = 32.0) -> float:
    """A short linear rise and a long linear fall (Howard & Ruder 2018, section 3.2, equation 3).

    The paper's formula rounds the peak down, so that near the end its falling line can pass below zero; here it
    stops at the lowest rate, 1 / ratio of the highest.

    Args:
        step: updates done before this one, 0 ... total - 1.
        total: updates of the run.
    """
    cut = max(1, math.floor(total * cut_fraction))
    position = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_fraction - 1))
    return (1 + max(0.0, position) * (ratio - 1)) / ratio


def linear(step: int, total: int, warmup_fraction: float = 0.1) -> float:
    """Linear warm-up from zero over the first share of the updates, then linear decay to zero."""
    warmup = math.floor(total * warmup_fraction)
    return step / warmup if step < warmup else (total - step) / max(1, total - warmup)


def linear_decay(step: int, total: int, warmup_fraction: float = 0.002) -> float:
    """A straight fall to zero from the first update on, through a short warm-up that multiplies it.

    The schedule of GPT's fine-tuning (Radford et al. 2018, section 4.1) as its code computes it: the first update has a
    rate of zero.
    """
    done = step / total
    return min(1.0, done / warmup_fraction) * (1 - done)


def cosine(step: int, total: int, warmup_fraction: float = 0.05) -> float:
    """Linear warm-up, then half a cosine down to zero (GPT pretraining, Radford et al. 2018, section 4.1)."""
    warmup = max(1.0, total * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def inverse_square_root(step: int, total: int, warmup_fraction: float = 0.1) -> float:
    """Linear warm-up, then falling with the root of the step (Vaswani et al. 2017, section 5.3), 1 at its peak."""
    warmup = max(1, round(total * warmup_fraction))
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def constant(step: int, total: int) -> float:
    """The highest rate throughout."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "slanted-triangular": slanted_triangular,
    "linear": linear,
    "linear-decay": linear_decay,
    "cosine": cosine,
    "inverse-square-root": inverse_square_root,
    "constant": constant,
}


def build_schedule(name: str, total: int) -> Schedule:
    """The named schedule over `total` updates."""
    shape = SCHEDULES[name]
    return lambda step: shape(min(step, total), total)
