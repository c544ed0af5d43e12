"""Scaled dot-product attention of several heads (Vaswani et al. 2017, section 3.2), no score of which is kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.nn.attention_kernel import Reading, attend_in_blocks
from nlptl.nn.autocast import has_onednn_bf16, product_dtype


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    *,
    causal: bool = False,
    key_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(Q K^T / sqrt(width of a head)) V in each head; no matrix of scores is kept, but on a GPU with dropout.

    Args:
        queries: (batch, time, width).
        keys, values: (batch, time of the keys, width).
        causal: a query reads the keys up to its own place.
        key_mask: (batch, time of the keys), True for the keys that may be read, one at least in each row. Causal
            attention to sequences that are padded on the right needs none: their padding comes after every token.
        dropout: of the attention weights. On a GPU the kernels leave their fused path for it.

    Returns:
        (batch, time, width).
    """

    device, dtype = queries.device.type, product_dtype(queries)
    if device == "cpu" and dtype is torch.bfloat16 and not has_onednn_bf16():
        dtype = torch.float32
    in_blocks = device == "cpu" and (dtype is torch.bfloat16 or dropout > 0.0)

    def split(x: Tensor) -> Tensor:
        apart: Tensor = x.to(dtype).unflatten(2, (heads, -1)).transpose(1, 2)
        return apart

    with torch.autocast(device, enabled=False):
        if in_blocks:
            hidden = None if key_mask is None or bool(key_mask.all()) else ~key_mask[:, None, :]
            q, k, v = (split(x).flatten(0, 1) for x in (queries, keys, values))
            context = attend_in_blocks(q, k, v, Reading(causal, hidden, heads, dropout))
            context = context.unflatten(0, (-1, heads))
        else:
            context = F.scaled_dot_product_attention(
                split(queries),
                split(keys),
                split(values),
                attn_mask=None if key_mask is None else key_mask[:, None, None, :],
                dropout_p=dropout,
                is_causal=causal,
            )
    joined: Tensor = context.transpose(1, 2).flatten(2)
    return joined.to(queries.dtype)
