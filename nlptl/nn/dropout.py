"""Dropout whose mask is shared along an axis, and dropout of whole embedding rows."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled_mask(reference: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """A mask of zeros (with probability `p`) and 1 / (1 - p), in the type and on the device of `reference`.

    Uniform numbers are drawn and compared because that is vectorised on the CPU, where `bernoulli_` is serial.
    """
    keep = torch.rand(shape, device=reference.device, dtype=torch.float32) >= p
    return keep.to(reference.dtype).mul_(1.0 / (1.0 - p))


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Variational dropout: one mask a sequence, the same at every time step (Gal & Ghahramani 2016).

    Args:
        x: (batch, time, width).
    """
    if not training or p <= 0.0:
        return x
    return x * scaled_mask(x, (x.shape[0], 1, x.shape[2]), p)


def embedding_dropout(weight: Tensor, p: float, training: bool) -> Tensor:
    """The embedding matrix with whole rows dropped, so that a word shares its fate wherever it occurs.

    Source: AWD-LSTM (Merity et al. 2018), section 4.3.

    Args:
        weight: (vocabulary, width).
    """
    if not training or p <= 0.0:
        return weight
    return weight * scaled_mask(weight, (weight.shape[0], 1), p)
