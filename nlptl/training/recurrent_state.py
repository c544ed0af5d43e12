"""The state of recurrent streams, a nest of tuples of tensors whose dimension 1 is the streams, or None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nlptl import processes


def detached(state: Any) -> Any:
    """A nested state without its history."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(detached(part) for part in state)


def on_cpu(state: Any) -> Any:
    """A nested state in this machine's memory."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.cpu()
    return tuple(on_cpu(part) for part in state)


def joined(states: Sequence[Any]) -> Any:
    """The states of consecutive streams as one; those that are None are left out, and streams are dimension 1."""
    present = [state for state in states if state is not None]
    if not present or isinstance(present[0], Tensor):
        return torch.cat(present, dim=1) if present else None
    return tuple(joined(parts) for parts in zip(*present, strict=True))


def own_streams(state: Any) -> Any:
    """The part of a nested state that belongs to the streams that this process reads."""
    if isinstance(state, Tensor):
        own = processes.own_part(state.shape[1])
        return state[:, own if own.start < own.stop else slice(0, 1)].contiguous()
    return tuple(own_streams(part) for part in state)
