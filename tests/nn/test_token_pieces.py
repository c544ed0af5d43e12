"""Tokens gathered chunk by chunk are those of the whole text."""

from __future__ import annotations

import pytest
import torch

from nlptl.nn.token_pieces import TokenPieces

LENGTHS = torch.tensor([11, 7, 0, 4])


@pytest.mark.parametrize("chunk", [1, 3])
def test_pieces_are_put_together_from_the_left_with_zeros_after(chunk: int) -> None:
    x = torch.randn(4, 11, 2, 3, requires_grad=True)
    first = chunk * torch.tensor([2, 0, 0, 1])  # whole chunks are left out
    steps = torch.arange(11)
    valid = (steps < LENGTHS[:, None]) & (steps >= first[:, None])
    gathered = TokenPieces.empty(4, 2, 3, x)
    for start in range(0, 11, chunk):
        gathered = gathered.update(slice(0, 4), x[:, start : start + chunk], valid[:, start : start + chunk])
    whole = gathered.result()
    counts = (LENGTHS - first).clamp(min=0)
    assert whole.shape == (4, counts.max(), 2, 3)
    assert torch.equal(gathered.count, counts)
    for row, (begin, end) in enumerate(zip(first.tolist(), LENGTHS.tolist(), strict=True)):
        count = max(0, end - begin)
        assert torch.equal(whole[row, :count], x[row, begin : begin + count])
        assert not whole[row, count:].any()
    whole.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad[..., 0, 0], valid.float())


def test_rows_that_have_ended_are_left_out() -> None:
    x = torch.randn(3, 4, 1, 2)
    gathered = TokenPieces.empty(3, 1, 2, x).update(slice(0, 3), x, torch.ones(3, 4).bool())
    gathered = gathered.update(slice(1, 2), x[:1], torch.tensor([[True, True, False, False]]))
    whole = gathered.result()
    assert gathered.count.tolist() == [4, 6, 4]
    assert torch.equal(whole[1, 4:], x[0, :2])


def test_nothing_gathered_is_one_place_of_zeros() -> None:
    assert torch.equal(TokenPieces.empty(2, 3, 4, torch.ones(1)).result(), torch.zeros(2, 1, 3, 4))
