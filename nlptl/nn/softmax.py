"""Softmax cross entropy over a vocabulary, without ever holding tokens x vocabulary; exact, or over candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlptl import processes
from nlptl.nn.autocast import product_dtype

IGNORED = -100
CHUNK_ELEMENTS = 2**26  # logits held at a time, in the type of the products: 256 MiB in fp32
# Of them so many go through the softmax at a time, in fp32: on a CPU few, which stay in the cache meanwhile.
CACHED_ELEMENTS, GPU_ELEMENTS = 2**20, 2**25
SMALLEST = 1e-30  # of a likelihood whose logarithm is exact in fp32


class _LinearCrossEntropy(torch.autograd.Function):
    """Projection and cross entropy in one: the gradient is made chunk by chunk while the logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor | None,
        smoothing: float,
        dtype: torch.dtype,
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        matrix = weight.to(dtype)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        wants_any = any(ctx.needs_input_grad)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight, grad_bias = None, None
        if bias is not None and wants_bias:
            grad_bias = bias.new_zeros(bias.shape, dtype=torch.float32)
        held = CHUNK_ELEMENTS, _elements_at_once(hidden.device)
        rows, few = (max(1, elements // weight.shape[0]) for elements in held)
        for start in range(0, hidden.shape[0], rows):
            part = hidden[start : start + rows].to(dtype)
            target = targets[start : start + rows]
            share = (target != IGNORED).float()
            if weights is not None:
                share = share * weights[start : start + rows]
            logits = part @ matrix.T
            index = target.clamp(min=0)[:, None]
            for own, wanted, counted in zip(
                logits.split(few), index.split(few), share.split(few), strict=True
            ):
                losses, gradient = _of_logits(own, bias, wanted, smoothing, wants_any)
                total += losses @ counted
                if gradient is not None:
                    own.copy_(gradient)
                    if grad_bias is not None:
                        grad_bias += counted @ gradient
            if grad_hidden is not None:  # the logits have become their gradient
                grad_hidden[start : start + rows] = (logits @ matrix) * share[:, None]
            if wants_weight:
                product = logits.T @ (part * share[:, None].to(dtype))
                grad_weight = product.float() if grad_weight is None else grad_weight.add_(product)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss are kept for one backward pass only")
        gradients, ctx.gradients = (
            ctx.gradients,
            None,
        )  # as large as the vocabulary: scaled in place, not copied
        scaled = [None if kept is None else kept.mul_(grad_total.to(kept.dtype)) for kept in gradients]
        return (*scaled, None, None, None, None)


def _of_logits(
    logits: Tensor, bias: Tensor | None, index: Tensor, smoothing: float, wants_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """What the rows lose, (rows,), and the gradient of each row's loss by its logits, (rows, words), in fp32.

    Args:
        logits: (rows, words), without the bias; may be overwritten. index: (rows, 1), the wanted words.
    """
    logits = logits.float()
    if bias is not None:
        logits.add_(bias)
    wanted = logits.gather(1, index).squeeze(1)
    probabilities = torch.softmax(logits, dim=1) if wants_gradient else None
    losses = _log_normaliser(logits, wanted, index, probabilities) - (1 - smoothing) * wanted
    if smoothing:
        losses = losses - smoothing * logits.mean(dim=1)
    if probabilities is None:
        return losses, None
    gradient = probabilities.scatter_add_(1, index, wanted.new_full((len(wanted), 1), smoothing - 1.0))
    if smoothing:
        gradient.sub_(smoothing / logits.shape[1])
    return losses, gradient


def _log_normaliser(logits: Tensor, wanted: Tensor, index: Tensor, probabilities: Tensor | None) -> Tensor:
    """The logarithm of each row's sum of exponentials, (rows,), without a pass of its own where softmax has run."""
    if probabilities is None:
        return torch.logsumexp(logits, dim=1)
    likelihood = probabilities.gather(1, index).squeeze(1)
    normaliser = wanted - likelihood.log()
    lost = likelihood < SMALLEST
    if bool(lost.any()):
        normaliser[lost] = torch.logsumexp(logits[lost], dim=1)
    return normaliser


def softmax_memory_mb(tokens: int, words: int, dtype: torch.dtype, device: torch.device) -> float:
    """MiB that `linear_cross_entropy` needs on the way: logits in the `dtype` of the products; then, of some of them,
    logits and probabilities in fp32.
    """
    logits = tokens * words
    held = dtype.itemsize * min(logits, CHUNK_ELEMENTS) + 8 * min(logits, _elements_at_once(device))
    return held / 2**20


def _elements_at_once(device: torch.device) -> int:
    return CACHED_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross entropy in nats of `softmax(hidden @ weight.T + bias)` against `targets`, or a weighted sum.

    At most `CHUNK_ELEMENTS` logits exist at a time, whatever the numbers of tokens and words. Matrix products run
    in the autocast type where autocast is on; sums, exponentials and the loss are fp32.

    Args:
        hidden: (tokens, width).
        weight: (vocabulary, width).
        bias: (vocabulary,), or None.
        targets: (tokens,); -100 is left out.
        weights: (tokens,), of each token's loss in a sum; None for the mean.
        smoothing: the share of the wanted probability that is spread evenly over the vocabulary (Szegedy et al. 2016).
    """
    device = hidden.device.type
    dtype = product_dtype(weight)
    if not torch.is_grad_enabled():  # a custom function is not told, and would make gradients for nobody
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    with torch.autocast(device, enabled=False):
        total: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, targets, weights, smoothing, dtype)
    if weights is not None:
        return total
    predicted = (targets != IGNORED).sum()
    return processes.weighed(total / predicted.clamp(min=1), predicted)


def log_frequencies(counts: Tensor) -> Tensor:
    """The logarithm of each word's share of a text, one occurrence more counted of each: (vocabulary,), double.

    Args:
        counts: (vocabulary,), how often each word occurs.
    """
    seen = counts.double() + 1.0
    return (seen / seen.sum()).log()


@dataclass(frozen=True)
class Candidates:
    """Different words drawn to stand for the whole vocabulary in one training step.

    Attributes:
        ids: (candidates,), each once.
        log_expected: (vocabulary,), the logarithm of each word's probability to be among the candidates.
    """

    ids: Tensor
    log_expected: Tensor


class CandidateSampler:
    """Draws candidates in proportion to the words' counts to the power 0.75; a pure function of the seed and the step.

    So they are the same for all processes that share a batch, and for a run that goes on from a checkpoint.

    Args:
        counts: (vocabulary,), how often each word occurs in the training text.
        size: how many are drawn in a step; a word that is drawn twice counts once.
    """

    def __init__(self, counts: Tensor, size: int, seed: int = 0) -> None:
        smoothed = (counts.double() + 1.0) ** 0.75
        share = smoothed / smoothed.sum()
        self.size, self.seed = size, seed
        self.log_expected = (-torch.expm1(size * torch.log1p(-share))).log().float()
        self.cumulative = share.cumsum(0)

    def draw(self, step: int, device: torch.device) -> Candidates:
        """The candidates of a step, on `device`."""
        points = torch.from_numpy(np.random.default_rng((self.seed, step)).random(self.size))
        ids = torch.searchsorted(self.cumulative, points).clamp_(max=len(self.cumulative) - 1).unique()
        return Candidates(ids=ids.to(device), log_expected=self.log_expected.to(device))


def sampled_memory_mb(tokens: int, candidates: int) -> float:
    """MiB that `sampled_cross_entropy` needs on the way: logits and probabilities in fp32, and a copy in 16 bits."""
    return 10 * tokens * candidates / 2**20


def sampled_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, candidates: Candidates
) -> Tensor:
    """Mean cross entropy of the target against the candidates, corrected for how they were drawn.

    Sampled softmax (Jean et al. 2015): every logit is lowered by the log of its expected count, and a candidate that
    happens to be the target is left out. A training loss only: perplexity is always taken over the full softmax.

    Args:
        hidden: (tokens, width).
        weight: (vocabulary, width).
        bias: (vocabulary,), or None.
        targets: (tokens,); -100 is left out of the mean.
    """
    kept = targets != IGNORED
    hidden, targets = hidden[kept], targets[kept]
    if not len(targets):
        return processes.weighed(hidden.sum() * 0.0, 0)
    words = torch.cat([candidates.ids, targets])
    rows, offsets = F.embedding(words, weight), -candidates.log_expected[words]
    if bias is not None:
        offsets = offsets + bias[words]
    size = len(candidates.ids)
    negative = F.linear(hidden, rows[:size]).float() + offsets[:size]
    negative = negative.masked_fill(targets[:, None] == candidates.ids[None, :], float("-inf"))
    positive = (hidden.float() * rows[size:].float()).sum(dim=1) + offsets[size:]
    losses = torch.logaddexp(positive, torch.logsumexp(negative, dim=1)) - positive
    return processes.weighed(losses.mean(), len(targets))
