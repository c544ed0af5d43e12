"""Attention in blocks of queries by batched matrix products, for the CPU, and its gradient written by hand.

torch's fused kernel multiplies in fp32 or, without AMX, not much faster in bf16, and it has no dropout: attention with
dropout would keep every score several times over. Here the scores of a few queries exist at a time, in the type of the
products; the backward pass computes them again from what the forward pass was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlptl.nn.dropout import kept

# So many queries at a time, of as many texts as have so many scores together, which stay in the cache from their
# product to their last use.
QUERIES, SCORES = 64, 2**21


class Reading(NamedTuple):
    """What may be read, and how much of it is dropped.

    Attributes:
        causal: a query reads the keys up to its own place.
        hidden: (rows, 1, keys), True for keys that no query reads; None where all are read.
        heads: so many neighbours among queries, keys and values share a row of `hidden`.
        dropout: of the attention weights.
    """

    causal: bool
    hidden: Tensor | None
    heads: int
    dropout: float


def attend_in_blocks(queries: Tensor, keys: Tensor, values: Tensor, reading: Reading) -> Tensor:
    """softmax(Q K^T / sqrt(width)) V.

    Args:
        queries: (rows * heads, time, width). keys, values: (rows * heads, time of the keys, width), of the same type.

    Returns:
        (rows * heads, time, width).
    """
    context: Tensor = _Attention.apply(queries, keys, values, reading)
    return context


class _Block(NamedTuple):
    """Where some queries of some texts stand, and the keys that any of them reads, as indices.

    Attributes:
        texts: rows of `Reading.hidden`. queries, keys: of tensors (rows * heads, time, width).
        first: the place of the first of these queries.
    """

    texts: slice
    queries: tuple[slice, slice]
    keys: tuple[slice, slice]
    first: int


def _blocks(queries: Tensor, keys: Tensor, reading: Reading) -> Iterator[_Block]:
    time, heads = queries.shape[1], reading.heads
    for first in range(0, time, QUERIES):
        last = min(first + QUERIES, time)
        read = last if reading.causal else keys.shape[1]
        texts = max(1, SCORES // max(1, heads * (last - first) * read))
        for start in range(0, queries.shape[0] // heads, texts):
            rows = slice(start * heads, (start + texts) * heads)
            yield _Block(
                texts=slice(start, start + texts),
                queries=(rows, slice(first, last)),
                keys=(rows, slice(0, read)),
                first=first,
            )


def _weights(queries: Tensor, keys: Tensor, block: _Block, reading: Reading) -> Tensor:
    """Attention weights of some queries, already scaled, before dropout: (rows * heads, queries, keys)."""
    scores = torch.bmm(queries[block.queries], keys[block.keys].transpose(1, 2))
    if reading.causal:
        count = scores.shape[1]
        scores[:, :, block.first :] += scores.new_full((count, count), -torch.inf).triu_(1)
    if reading.hidden is not None:
        by_row = scores.unflatten(0, (-1, reading.heads))
        by_row.masked_fill_(reading.hidden[block.texts, None, :, block.keys[1]], -torch.inf)
    return scores.softmax(dim=2)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, reading: Reading) -> Tensor:
        scaled = queries * queries.shape[2] ** -0.5
        context = torch.empty_like(scaled)
        masks = []
        for block in _blocks(queries, keys, reading):
            weights = _weights(scaled, keys, block, reading)
            if reading.dropout:
                masks.append(kept(tuple(weights.shape), reading.dropout, weights.device))
                weights.mul_(masks[-1])
            context[block.queries] = torch.bmm(weights, values[block.keys])
        ctx.save_for_backward(scaled, keys, values, *masks)
        ctx.reading = reading
        return context.mul_(1.0 / (1.0 - reading.dropout)) if reading.dropout else context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_context: Tensor) -> tuple[Tensor | None, ...]:
        scaled, keys, values, *masks = ctx.saved_tensors
        reading: Reading = ctx.reading
        wide = torch.promote_types(keys.dtype, torch.float32)
        d_queries = torch.empty_like(scaled)
        d_keys, d_values = (torch.zeros_like(x, dtype=wide) for x in (keys, values))
        if reading.dropout:
            d_context = d_context * (1.0 / (1.0 - reading.dropout))
        for number, block in enumerate(_blocks(scaled, keys, reading)):
            weights = _weights(scaled, keys, block, reading)
            d_block = d_context[block.queries]
            d_weights = torch.bmm(d_block, values[block.keys].transpose(1, 2))
            dropped = weights
            if reading.dropout:
                dropped = weights * masks[number]
                d_weights.mul_(masks[number])
            d_values[block.keys] += torch.bmm(dropped.transpose(1, 2), d_block)
            d_scores = torch._softmax_backward_data(d_weights, weights, 2, weights.dtype)
            d_queries[block.queries] = torch.bmm(d_scores, keys[block.keys])
            d_keys[block.keys] += torch.bmm(d_scores.transpose(1, 2), scaled[block.queries])
        d_queries.mul_(scaled.shape[2] ** -0.5)
        return d_queries, d_keys.to(keys.dtype), d_values.to(values.dtype), None
