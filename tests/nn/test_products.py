"""Products by a matrix that is laid out once, against torch's linear layer."""

from __future__ import annotations

import copy
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nlptl.nn.products import Product, SettledLinear, settle_products, settled_for_now

ACTIVATIONS = [None, nn.ReLU(), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh")]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-6)])
def test_it_is_the_linear_layer_and_the_activation(
    activation: nn.Module | None, dtype: torch.dtype, rtol: float
) -> None:
    torch.manual_seed(0)
    x, matrix, bias = torch.randn(2, 7, 40).to(dtype), torch.randn(24, 40).to(dtype), torch.randn(24)
    wanted = nn.functional.linear(x.double(), matrix.double(), bias.to(dtype).double())
    if activation is not None:
        wanted = activation(wanted)
    found = Product(matrix, bias, activation)(x)
    assert found.dtype is dtype
    torch.testing.assert_close(found.double(), wanted, rtol=rtol, atol=rtol)


class Layers(nn.Module):
    """One layer of each kind, of which the last is read by others, too."""

    settled_linears: ClassVar = {"inner": "activation", "outer": None}

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.GELU()
        self.inner, self.outer, self.tied = nn.Linear(6, 20), Conv1D(5, 20), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.outer(self.activation(self.inner(x))))


def test_settled_layers_compute_what_they_did_and_let_their_weights_go() -> None:
    torch.manual_seed(0)
    layers = Layers().eval()
    settled = copy.deepcopy(layers)
    for _ in range(2):  # once more is nothing more
        settle_products(settled, None)
    x = torch.randn(3, 4, 6)
    with torch.inference_mode():
        torch.testing.assert_close(settled(x), layers(x))
    assert {name for name, _ in settled.named_parameters()} == {"tied.weight", "tied.bias"}


def test_layers_that_are_settled_for_now_come_back() -> None:
    """The same ones, whatever happens meanwhile; those that were settled before stay settled."""
    torch.manual_seed(0)
    layers, x = Layers().eval(), torch.randn(3, 4, 6)
    before = dict(layers.named_modules())

    def interrupted() -> None:
        wanted = layers(x)
        with settled_for_now(layers, None):
            assert isinstance(layers.inner, SettledLinear)
            torch.testing.assert_close(layers(x), wanted)
            raise KeyboardInterrupt

    with torch.inference_mode(), pytest.raises(KeyboardInterrupt):
        interrupted()
    assert dict(layers.named_modules()) == before
    settle_products(layers, None)
    with settled_for_now(layers, None):
        pass
    assert isinstance(layers.inner, SettledLinear)
