"""Locked dropout and embedding dropout: what shares a mask, and that nothing changes on average or in evaluation."""

from __future__ import annotations

import pytest
import torch

from nlptl.nn.dropout import embed, locked_dropout, scaled_mask


def test_a_locked_mask_is_the_same_at_every_time_step() -> None:
    torch.manual_seed(0)
    dropped = locked_dropout(torch.ones(16, 9, 20), 0.4, training=True)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_a_locked_mask_differs_from_row_to_row_and_from_call_to_call() -> None:
    torch.manual_seed(0)
    x = torch.ones(16, 9, 20)
    first, second = locked_dropout(x, 0.4, training=True), locked_dropout(x, 0.4, training=True)
    assert len(torch.unique(first[:, 0], dim=0)) == 16
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.02, 0.4, 0.9])
def test_kept_values_are_scaled_so_that_the_expectation_stays(p: float) -> None:
    torch.manual_seed(0)
    dropped = locked_dropout(torch.ones(300, 2, 300), p, training=True)[:, 0]
    survivors = dropped[dropped != 0]
    torch.testing.assert_close(survivors, torch.full_like(survivors, 1 / (1 - p)))
    deviation = (p / (1 - p) / dropped.numel()) ** 0.5
    assert dropped.mean().item() == pytest.approx(1.0, abs=4 * deviation)


def test_embedding_dropout_drops_a_word_wherever_it_stands() -> None:
    torch.manual_seed(0)
    weight = torch.rand(500, 6) + 0.5
    dropped, again = embed(torch.arange(500).repeat(2, 1), weight, 0.3, training=True)
    assert torch.equal(dropped, again)
    gone = (dropped == 0).all(dim=1)
    torch.testing.assert_close(dropped[~gone], weight[~gone] / 0.7)
    assert 0.2 < gone.float().mean().item() < 0.4


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)])
def test_evaluation_and_zero_probability_change_nothing(p: float, training: bool) -> None:
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4)
    assert torch.equal(locked_dropout(x, p, training), x)
    assert torch.equal(embed(torch.arange(5), weight, p, training), weight)


def test_dropped_words_get_no_gradient() -> None:
    torch.manual_seed(0)
    weight = torch.ones(50, 4, requires_grad=True)
    dropped = embed(torch.arange(50), weight, 0.5, training=True)
    dropped.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, dropped.detach())


def test_masks_follow_the_seed_and_the_type() -> None:
    reference = torch.ones(3, dtype=torch.bfloat16)
    torch.manual_seed(5)
    first = scaled_mask(reference, (40,), 0.5)
    torch.manual_seed(5)
    assert torch.equal(first, scaled_mask(reference, (40,), 0.5))
    assert first.dtype == torch.bfloat16
