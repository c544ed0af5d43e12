"""Where a token stands, as waves of many lengths (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal_positions(places: int, width: int) -> Tensor:
    """(places, width): sines in the even columns, cosines in the odd, of wavelengths from 2 pi to 20,000 pi."""
    place = torch.arange(places, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    waves = torch.empty(places, width, dtype=torch.float64)
    waves[:, 0::2] = angle.sin()
    waves[:, 1::2] = angle[:, : width // 2].cos()
    return waves.float()
