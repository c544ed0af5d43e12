"""Penalties on the activations of a recurrent layer."""

from __future__ import annotations

from torch import Tensor


def activation_penalty(dropped: Tensor, valid: Tensor | None = None) -> Tensor:
    """AR: the mean square of the output after dropout (AWD-LSTM, Merity et al. 2018, section 4.6).

    Args:
        dropped: (batch, time, width).
        valid: (batch, time), True where a position counts; all do when it is None.
    """
    squares = dropped.float().pow(2)
    if valid is None:
        return squares.mean()
    mask = valid[:, :, None]
    return (squares * mask).sum() / (mask.sum() * dropped.shape[2]).clamp(min=1)


def temporal_activation_penalty(raw: Tensor, valid: Tensor | None = None) -> Tensor:
    """TAR: the mean square of the difference between neighbouring outputs before dropout (the same section).

    Args:
        raw: (batch, time, width).
        valid: (batch, time); a difference counts when both of its positions do.
    """
    if raw.shape[1] < 2:
        return raw.new_zeros(()).float()
    squares = (raw[:, 1:] - raw[:, :-1]).float().pow(2)
    if valid is None:
        return squares.mean()
    mask = (valid[:, 1:] & valid[:, :-1])[:, :, None]
    return (squares * mask).sum() / (mask.sum() * raw.shape[2]).clamp(min=1)
