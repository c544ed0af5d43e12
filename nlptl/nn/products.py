"""Products by one matrix that does not change: laid out once for oneDNN, which saves torch doing it at each product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nlptl.nn.autocast import has_onednn_bf16

Replaced = tuple[nn.Module, str, nn.Module | None]  # in a module, by a name, what was there


class Product:
    """x -> activation(x @ matrix.T + bias), without a gradient.

    On a CPU the matrix is kept in oneDNN's own layout, and the activation is computed while the product is in the
    cache. In fp32 this is also the way past MKL, which torch asks otherwise and which has no AVX-512 for AMD's CPUs.

    Args:
        matrix: (out, in), of the type that the product runs in.
        bias: (out,), of any type.
        activation: `torch.nn`'s ReLU, SiLU or GELU.
    """

    def __init__(
        self, matrix: Tensor, bias: Tensor | None = None, activation: nn.Module | None = None
    ) -> None:
        self.matrix = matrix.detach()
        self.bias = None if bias is None else bias.detach().to(matrix.dtype)
        self.activation, self.after = activation, _after(activation)
        self.is_laid_out = may_be_laid_out(matrix.device, matrix.dtype)
        if self.is_laid_out:
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(self.matrix)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) of the matrix's type -> (..., out)."""
        product: Tensor
        if not self.is_laid_out:
            product = F.linear(x, self.matrix, self.bias)
            if self.activation is not None:
                product = self.activation(product)
            return product
        name, algorithm = self.after
        product = torch.ops.mkldnn._linear_pointwise(x, self.matrix, self.bias, name, [], algorithm)
        return product


def may_be_laid_out(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies by such a matrix at full speed here."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype is torch.bfloat16:
        return has_onednn_bf16()
    return dtype is torch.float32 and torch.cpu._is_avx2_supported()


def _after(activation: nn.Module | None) -> tuple[str, str]:
    """What oneDNN calls an activation, and which algorithm of it."""
    match activation:
        case None:
            return "none", ""
        case nn.ReLU():
            return "relu", ""
        case nn.SiLU():
            return "swish", ""
        case nn.GELU():
            return "gelu", activation.approximate
    raise ValueError(f"{activation} is none that a product computes")


class SettledLinear(nn.Module):
    """A linear layer that is only applied any more, and perhaps the activation after it. It has no parameters."""

    def __init__(self, layer: nn.Linear | Conv1D, dtype: torch.dtype, activation: nn.Module | None) -> None:
        super().__init__()
        matrix = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
        self.dtype = dtype
        self.product = Product(matrix.to(dtype).contiguous(), layer.bias, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the type of the product."""
        return self.product(x.to(self.dtype))


def settle_products(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Lay out weights for oneDNN, in place and for good, of a model that is on a CPU and only computes from now on.

    A module names in `settled_linears` those of its linear layers whose weights nothing else reads, each with the name
    of the activation that alone reads its output, or None. One with other weights has a method `settle`.

    Args:
        dtype: of the products, or None for that of each layer's weights.
    """
    for (
        module
    ) in model.modules():  # each comes before its layers: those that are replaced are not met, nor kept alive
        settle: Callable[[torch.dtype | None], None] | None = getattr(module, "settle", None)
        if settle is not None:
            settle(dtype)
        _settle_linears(module, dtype, [])


@contextmanager
def settled_for_now(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """As `settle_products` for linear layers, which come back afterwards: both are in memory meanwhile."""
    replaced: list[Replaced] = []
    try:
        for module in model.modules():
            _settle_linears(module, dtype, replaced)
        yield
    finally:
        for module, name, layer in replaced:
            setattr(module, name, layer)


@torch.no_grad()
def _settle_linears(module: nn.Module, dtype: torch.dtype | None, replaced: list[Replaced]) -> None:
    """Replace the layers that a module allows; each is noted in `replaced` first."""
    linears: dict[str, str | None] = getattr(module, "settled_linears", {})
    for name, activation in linears.items():
        layer = getattr(module, name)
        if isinstance(layer, SettledLinear):  # by a call before
            continue
        if not may_be_laid_out(layer.weight.device, dtype or layer.weight.dtype):
            continue
        following = None if activation is None else getattr(module, activation)
        settled = SettledLinear(layer, dtype or layer.weight.dtype, following)
        replaced.append((module, name, layer))
        setattr(module, name, settled)
        if activation is not None:
            replaced.append((module, activation, following))
            setattr(module, activation, nn.Identity())
