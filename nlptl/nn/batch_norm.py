"""Batch normalisation in training: over the rows of the whole batch, also where several processes have parts of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlptl import processes


def batch_norm(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """`norm(x)`, (rows, width).

    One row has no variance: in training the running statistics stand in for it. Of a batch that processes share, mean
    and variance are those of all its rows, as for one process (torch's `SyncBatchNorm` works on GPUs alone).
    """
    if norm.training and processes.in_batch():
        return _over_all_parts(norm, x)
    if norm.training and len(x) == 1:
        return _by_running_statistics(norm, x)
    normal: Tensor = norm(x)
    return normal


def _by_running_statistics(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _over_all_parts(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    counts = processes.counts()
    rows = int(processes.batch_total(torch.tensor(len(x) * counts, device=x.device)))
    if rows == 1:
        return _by_running_statistics(norm, x)
    wide = x.float()
    mean = _total(wide.sum(dim=0) * counts) / rows
    squares = _total((wide - mean).square().sum(dim=0) * counts)
    normal = (wide - mean) * torch.rsqrt(squares / rows + norm.eps) * norm.weight + norm.bias
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_((squares / (rows - 1)).to(norm.running_var.dtype), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return normal.to(x.dtype)


def _total(values: Tensor) -> Tensor:
    """The sum over all parts of a batch, through which gradients flow back to each of them."""
    total: Tensor = _Total.apply(values)
    return total


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return processes.batch_total(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return processes.batch_total(gradient)
