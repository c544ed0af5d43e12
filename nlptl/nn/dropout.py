"""Dropout: of elements, with a mask that is shared along an axis, and of whole embedding rows.

On the CPU torch draws `bernoulli_` one element at a time, which can take longer than the matrix products around it.
Here one random word of 64 bits decides about four elements.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 2**16  # a probability is rounded to so many parts


def kept(shape: tuple[int, ...], p: float, device: torch.device) -> Tensor:
    """True with probability 1 - `p` for each element, bool, of this shape."""
    if device.type != "cpu":
        return torch.rand(shape, device=device) >= p
    size = math.prod(shape)
    words = torch.empty((size + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:size].view(shape) >= round(p * LEVELS) - LEVELS // 2


def scaled_mask(reference: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """A mask of zeros (with probability `p`) and 1 / (1 - p), in the type and on the device of `reference`."""
    return kept(shape, p, reference.device).to(reference.dtype).mul_(1.0 / (1.0 - p))


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each element with probability `p`, below 1, and scale up the others (Srivastava et al. 2014)."""
    if not training or p <= 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p, True)
    return (x * kept(tuple(x.shape), p, x.device)).mul_(1.0 / (1.0 - p))


class Dropout(nn.Module):
    """`dropout` as a layer."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x -> x, of any shape."""
        return dropout(x, self.p, self.training)


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Variational dropout: one mask a sequence, the same at every time step (Gal & Ghahramani 2016).

    Args:
        x: (batch, time, width).
    """
    if not training or p <= 0.0:
        return x
    return x * scaled_mask(x, (x.shape[0], 1, x.shape[2]), p)


def embed(ids: Tensor, weight: Tensor, p: float, training: bool) -> Tensor:
    """Rows of an embedding; a word that is drawn, with probability `p`, is zero wherever it occurs.

    Source: AWD-LSTM (Merity et al. 2018), section 4.3. The matrix itself, of which a batch reads a small part, is left
    alone.

    Args:
        ids: of any shape.
        weight: (vocabulary, width).

    Returns:
        (*shape of `ids`, width).
    """
    x = F.embedding(ids, weight)
    if not training or p <= 0.0:
        return x
    return x * F.embedding(ids, scaled_mask(weight, (weight.shape[0], 1), p))
