"""Rows of different lengths as one run of tokens."""

from __future__ import annotations

import pytest
import torch

from nlptl.nn.packing import Packing


def test_tokens_stand_step_by_step_with_the_longest_rows_first() -> None:
    packing = Packing.of(torch.tensor([1, 3, 0, 2]), time=4)
    assert packing.rows.tolist() == [1, 3, 0, 2]
    assert packing.counts == [3, 2, 1]
    assert packing.index.tolist() == [4, 12, 0, 5, 13, 6]  # (row, step) as row * 4 + step
    assert packing.last.tolist() == [5, 4, 2, -1]


@pytest.mark.parametrize("lengths", [[1, 3, 0, 2], [4, 4, 4, 4], [0, 0, 0, 0]])
def test_unpacking_puts_tokens_back_and_zeros_between(lengths: list[int]) -> None:
    packing = Packing.of(torch.tensor(lengths), time=4)
    x = torch.randn(2, 4, 4, 3)
    there = torch.arange(4) < torch.tensor(lengths)[:, None]
    assert torch.equal(packing.unpack(packing.pack(x), 4, 4), x * there[:, :, None])
