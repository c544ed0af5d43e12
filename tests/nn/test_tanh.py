"""The hyperbolic tangent by the sigmoid."""

from __future__ import annotations

import pytest
import torch

from nlptl.nn.tanh import tanh, tanh_of_sigmoid_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_that_of_torch_everywhere(dtype: torch.dtype) -> None:
    x = torch.tensor([*torch.linspace(-30, 30, 4001), 0.0, 1e-3, -1e-3, torch.inf, -torch.inf], dtype=dtype)
    kept = x.clone()
    torch.testing.assert_close(tanh(x), torch.tanh(x), rtol=0, atol=2e-7)
    assert torch.equal(x, kept)
    out = torch.empty_like(x)
    assert tanh(x, out) is out
    assert torch.equal(out, tanh(x))
    assert torch.equal(tanh_of_sigmoid_((2 * x).sigmoid_()), out)
    assert tanh(torch.tensor([torch.nan], dtype=dtype)).isnan().all()


def test_it_is_for_every_device() -> None:
    assert tanh(torch.empty(3, device="meta")).device.type == "meta"
