"""The scalar mix against its formula and, with layer norm, against both originals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlptl.nn.scalar_mix import MixNorm, ScalarMix

PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "elmo"
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


def layers() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 4, 5) for _ in range(3)]


def test_a_new_mix_is_the_mean() -> None:
    torch.testing.assert_close(ScalarMix(3)(layers(), MASK), torch.stack(layers()).mean(dim=0))


def test_weights_count_by_their_softmax_and_gamma_scales() -> None:
    mix = ScalarMix(3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        mix.gamma.fill_(1.5)
    shares = torch.tensor([0.5, -1.0, 2.0]).softmax(dim=0)
    expected = 1.5 * sum(share * layer for share, layer in zip(shares, layers(), strict=True))
    mixed = mix(layers(), MASK)
    torch.testing.assert_close(mixed, expected)
    mixed.sum().backward()
    assert mix.weights.grad is not None
    assert mix.gamma.grad is not None
    torch.testing.assert_close(mix.gamma.grad, mixed.sum().detach()[None] / 1.5)


def test_the_penalty_is_on_the_weights_before_the_softmax() -> None:
    mix = ScalarMix(2)
    assert mix.penalty() == 0
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([3.0, -4.0]))
        mix.gamma.fill_(100.0)
    assert mix.penalty() == 25


def test_another_number_of_layers_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 layers for a mix of 2"):
        ScalarMix(2)(layers(), MASK)


@pytest.mark.parametrize("layer_norm", ["allennlp", "bilm-tf"])
def test_padding_has_no_part_in_the_statistics(layer_norm: MixNorm) -> None:
    mix = ScalarMix(3, layer_norm)
    boundaries = torch.tensor([[True, False, False, True], [True, False, True, False]])
    mixed = mix(layers(), MASK, boundaries)
    changed = [layer + 7.0 * ~MASK[:, :, None] for layer in layers()]
    torch.testing.assert_close(mix(changed, MASK, boundaries)[MASK], mixed[MASK])
    counted = MASK & ~boundaries if layer_norm == "bilm-tf" else MASK
    torch.testing.assert_close(mixed[counted].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("skip", ["skip", "noskip"])
@pytest.mark.parametrize("layer_norm", ["none", "allennlp", "bilm-tf"])
def test_mixes_are_those_of_the_originals(skip: str, layer_norm: MixNorm) -> None:
    if not PARITY.is_dir():
        pytest.skip("../shared/parity is absent")
    recorded: Any = np.load(PARITY / f"stateless_{skip}.npz")
    mix = ScalarMix(3, layer_norm)
    with torch.no_grad():
        mix.weights.copy_(torch.from_numpy(recorded["scalar_weights"]))
        mix.gamma.copy_(torch.from_numpy(recorded["gamma"]))
    mask = torch.from_numpy(recorded["mask_with_boundaries"])
    boundaries = torch.zeros_like(mask)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        boundaries[row, [0, length - 1]] = True
    mixed = mix(list(torch.from_numpy(recorded["layers_with_boundaries"])), mask, boundaries)
    name = "mix" if layer_norm == "none" else f"mix_layer_norm_{layer_norm.replace('-', '_')}"
    expected = torch.from_numpy(recorded[name])[torch.from_numpy(recorded["mask"])]
    torch.testing.assert_close(mixed[mask & ~boundaries], expected, atol=1e-5, rtol=1e-5)
