"""What this hardware does best: which device, and bf16 where it pays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from nlptl.errors import UsageError
from nlptl.nn.autocast import cast_products
from nlptl.nn.products import settle_products

Precision = Literal["fp32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` -> a device that is there.

    Raises:
        UsageError: the device asked for is absent.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[device.type] or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise UsageError(f"this machine has no device {name!r}", "--device", "use --device auto")
    return device


def training_precision(name: str, device: torch.device) -> Precision:
    """The type that matrix products of training run in; `auto` is bf16 where the hardware multiplies it natively.

    Raises:
        UsageError: fp16 on a CPU, where torch cannot train in it.
    """
    if name == "fp16" and device.type == "cpu":
        raise UsageError("fp16 training needs a GPU", "--precision", "use --precision bf16 or fp32")
    if name != "auto":
        return name  # type: ignore[return-value]
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bf16"
    return "fp32"


def inference_precision(name: str, device: torch.device) -> Precision:
    """The type of inference: fp32 unless asked otherwise, so that a text's result never depends on its batch."""
    return "fp32" if name == "auto" else training_precision(name, device)


def product_type(precision: Precision) -> torch.dtype:
    """The type of matrix products, of a model in fp32."""
    return HALF.get(precision, torch.float32)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Matrix products in `precision` inside this context."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, HALF[precision])


@torch.no_grad()
def settle(model: nn.Module, precision: Precision) -> None:
    """Make a model that will not be trained or saved ready to run under `autocast`: faster, and in less memory."""
    loaded = {tensor.data_ptr(): tensor.nbytes for tensor in _tensors(model)}
    settle_products(model, HALF.get(precision))
    if precision != "fp32":
        cast_products(model, HALF[precision])
    left = [tensor for tensor in _tensors(model) if tensor.data_ptr() in loaded]
    # All that was loaded is one mapped file, which leaves memory with the last that is read from it.
    if 2 * sum(tensor.nbytes for tensor in left) < sum(loaded.values()):
        for tensor in left:
            tensor.data = tensor.data.clone()


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
