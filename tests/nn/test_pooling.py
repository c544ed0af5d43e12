"""Pooling: over valid positions only, the same in one pass and chunk by chunk."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nlptl.nn.pooling import Pooling, RunningPool, pool

POOLINGS: list[Pooling] = ["mean", "max", "last", "concat"]
LENGTHS = [7, 5, 4, 1]  # longest first, as the classifier orders documents


def documents() -> tuple[Tensor, Tensor]:
    """Four documents of up to 7 tokens, (4, 7, 3), and where they are valid, (4, 7)."""
    x = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(7) < torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [2.0, -2.0]), ("max", [4.0, -1.0]), ("last", [2.0, -3.0]), ("concat", [2, -3, 4, -1, 2, -2])],
)
def test_a_document_worked_by_hand(pooling: Pooling, expected: list[float]) -> None:
    x = torch.tensor([[[0.0, -2.0], [4.0, -1.0], [2.0, -3.0], [99.0, 99.0]]])
    assert pool(x, torch.tensor([[1, 1, 1, 0]]), pooling).tolist() == [expected]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_document_alone_and_in_any_padding_gives_the_same_vector(pooling: Pooling) -> None:
    x, valid = documents()
    noisy = torch.cat([x, torch.zeros(4, 5, 3)], dim=1)
    longer = torch.cat([valid, torch.zeros(4, 5, dtype=torch.bool)], dim=1)
    noisy[~longer] = 1e30
    together = pool(noisy, longer, pooling)
    for row, length in enumerate(LENGTHS):
        alone = pool(x[row : row + 1, :length], valid[row : row + 1, :length], pooling)
        torch.testing.assert_close(together[row : row + 1], alone)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_gets_no_gradient(pooling: Pooling) -> None:
    x, valid = documents()
    x.requires_grad_()
    pool(x, valid, pooling).sum().backward()
    assert x.grad is not None
    assert bool((x.grad[~valid] == 0).all())
    assert bool((x.grad[valid] != 0).any())


@settings(deadline=None)
@given(size=st.integers(1, 8), leave_out_finished=st.booleans())
def test_chunk_by_chunk_equals_the_whole(size: int, leave_out_finished: bool) -> None:
    x, valid = documents()
    running = RunningPool.empty(4, 3, like=x)
    for start in range(0, 7, size):
        rows = sum(length > start for length in LENGTHS) if leave_out_finished else 4
        piece = slice(start, start + size)
        running = running.update(
            slice(0, rows), [x[:rows, piece, :1], x[:rows, piece, 1:]], valid[:rows, piece]
        )
    for pooling in POOLINGS:
        torch.testing.assert_close(running.result(pooling), pool(x, valid, pooling))


def test_rows_that_are_not_updated_stay_as_they_are() -> None:
    x, valid = documents()
    before = RunningPool.of(x, valid)
    after = before.update(slice(1, 3), [x[1:3] + 10], valid[1:3])
    for pooling in POOLINGS:
        old, new = before.result(pooling), after.result(pooling)
        assert torch.equal(new[[0, 3]], old[[0, 3]])
        assert not torch.equal(new[[1, 2]], old[[1, 2]])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_document_without_tokens_gives_zeros_when_read_in_chunks(pooling: Pooling) -> None:
    x, valid = documents()
    valid[2] = False
    running = RunningPool.empty(4, 3, like=x).update(slice(0, 4), [x], valid)
    assert bool((running.result(pooling)[2] == 0).all())


@pytest.mark.parametrize(
    "pooling",
    [
        "mean",
        "max",
        *(pytest.param(p) for p in ("last", "concat")),
    ],
)
def test_a_document_without_tokens_gives_zeros_when_read_whole(pooling: Pooling) -> None:
    x, valid = documents()
    valid[2] = False
    assert bool((pool(x, valid, pooling)[2] == 0).all())


def test_pools_of_the_same_documents_are_joined_in_turn() -> None:
    """Whatever part of each document either holds; the last token is that of the last part with any."""
    torch.manual_seed(0)
    x = torch.randn(3, 9, 4)
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[1, 4:] = False
    valid[2, :4] = False
    parts = [RunningPool.of(x[:, part], valid[:, part]) for part in (slice(0, 4), slice(4, 9))]
    for pooling in ("mean", "max", "last", "concat"):
        torch.testing.assert_close(RunningPool.in_turn(parts).result(pooling), pool(x, valid, pooling))
