"""Scaled dot-product attention of several heads (Vaswani et al. 2017, section 3.2), by torch's fused kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.nn.autocast import product_dtype

# torch's fused CPU kernel converts and repacks in bf16, which up to this many keys takes longer than it saves.
SHORT_ON_CPU = 256


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
    """softmax(Q K^T / sqrt(width of a head)) V in each head; no matrix of scores is kept unless there is dropout.

    Args:
        queries: (batch, time, width).
        keys, values: (batch, time of the keys, width).
        causal: a query reads the keys up to its own place.
        key_mask: (batch, time of the keys), True for the keys that may be read, one at least in each row. Causal
            attention to sequences that are padded on the right needs none: their padding comes after every token.
        dropout: of the attention weights. The kernels leave their fused path for it.

    Returns:
        (batch, time, width).
    """

    device, dtype = queries.device.type, product_dtype(queries)
    if device == "cpu" and dtype.itemsize == 2 and keys.shape[1] <= SHORT_ON_CPU:
        dtype = torch.float32

    def split(x: Tensor) -> Tensor:
        apart: Tensor = x.to(dtype).unflatten(2, (heads, -1)).transpose(1, 2)
        return apart

    with torch.autocast(device, enabled=False):
        context: Tensor = F.scaled_dot_product_attention(
            split(queries),
            split(keys),
            split(values),
            attn_mask=None if key_mask is None else key_mask[:, None, None, :],
            dropout_p=dropout,
            is_causal=causal,
        )
    joined: Tensor = context.transpose(1, 2).flatten(2)
    return joined.to(queries.dtype)
