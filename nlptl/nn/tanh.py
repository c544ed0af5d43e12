"""The hyperbolic tangent as 2 sigmoid(2x) - 1, which torch computes in a third of the time on a CPU.

It is within rounding of one, which near zero is more than rounding of the result; gates and cells of an LSTM do not
care. No gradient passes through.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MINUS_ONE = torch.tensor(-1.0, device="cpu")


def tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    """tanh(x), written to `out` where it is given."""
    return tanh_of_sigmoid_(torch.mul(x, 2, out=out).sigmoid_())


def tanh_of_sigmoid_(x: Tensor) -> Tensor:
    """sigmoid(2x), in place, to tanh(x)."""
    if x.device.type != "cpu":
        return x.mul_(2).sub_(1)
    return torch.add(_MINUS_ONE, x, alpha=2, out=x)  # one pass instead of two
