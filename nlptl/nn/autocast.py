"""The number type that matrix products run in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def product_dtype(like: Tensor) -> torch.dtype:
    """That of autocast on the tensor's device where it is on, else the tensor's own."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def has_onednn_bf16() -> bool:
    """Whether torch has oneDNN multiply bf16 on this CPU, which needs AVX-512; without it products are slow but there,
    and LSTMs are not.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.no_grad()
def cast_products(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast, in place and for good, the weights of a model that only matrix products read.

    Under autocast in this type the model computes what it did, which cast them at each use, in half the memory. Biases
    and all that is element by element stay as they are, and so does a softmax that is tied to an embedding. A module of
    ours whose weights are no linear layer's names them in `product_weights`.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        linear = ("weight",) if isinstance(module, (nn.Linear, Conv1D)) else ()
        for name in getattr(module, "product_weights", linear):
            weight = getattr(module, name)
            if id(weight) not in embeddings:
                weight.data = weight.data.to(dtype)
