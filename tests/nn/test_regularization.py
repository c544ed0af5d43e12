"""AR and TAR: the values of fastai, and what padding and single tokens do to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty

PARITY = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "ulmfit"


@pytest.mark.skipif(not PARITY.is_dir(), reason="../shared/parity is absent")
def test_the_penalties_are_those_of_fastai() -> None:
    expected = json.loads((PARITY / "schedules.json").read_text())["ar_tar"]
    x = load_file(PARITY / "lm_fwd_expected.safetensors")["full.layer2"]
    assert expected["alpha"] * activation_penalty(x).item() == pytest.approx(expected["ar"], rel=1e-5)
    assert expected["beta"] * temporal_activation_penalty(x).item() == pytest.approx(
        expected["tar"], rel=1e-5
    )


def test_a_sequence_worked_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 2.0], [0.0, 0.0]]])
    assert activation_penalty(x).item() == pytest.approx((1 + 4 + 9 + 4) / 6)
    assert temporal_activation_penalty(x).item() == pytest.approx((4 + 0 + 9 + 4) / 4)


def test_padding_does_not_count() -> None:
    x = torch.randn(2, 5, 3)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    rows = [x[0], x[1, :3]]
    squares = torch.cat([row.pow(2).flatten() for row in rows])
    differences = torch.cat([(row[1:] - row[:-1]).pow(2).flatten() for row in rows])
    torch.testing.assert_close(activation_penalty(x, valid), squares.mean())
    torch.testing.assert_close(temporal_activation_penalty(x, valid), differences.mean())


def test_all_positions_valid_is_the_plain_mean() -> None:
    x, valid = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(activation_penalty(x, valid), activation_penalty(x))
    torch.testing.assert_close(temporal_activation_penalty(x, valid), temporal_activation_penalty(x))


def test_nothing_to_penalise_is_zero_and_not_nan() -> None:
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert activation_penalty(torch.randn(2, 4, 3), nothing).item() == 0
    assert temporal_activation_penalty(torch.randn(2, 4, 3), nothing).item() == 0
    assert temporal_activation_penalty(torch.randn(2, 1, 3)).item() == 0


def test_half_precision_is_summed_in_fp32() -> None:
    x = torch.full((4, 300, 50), 30.0, dtype=torch.float16)  # 60,000 squares of 900: the sum is beyond fp16
    valid = torch.ones(4, 300, dtype=torch.bool)
    assert activation_penalty(x, valid).item() == pytest.approx(900.0)
