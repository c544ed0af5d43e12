"""Temperature scaling of a classifier's logits (Guo et al. 2017, "On Calibration of Modern Neural Networks", 4.2)."""

from __future__ import annotations

import math


def check_temperature(temperature: float) -> None:
    """A temperature that logits can be divided by.

    Raises:
        ValueError: it is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError("calibration_temperature must be a positive number")
