"""Lengths of right-padded rows, and reading them from their ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.nn.sequences import reverse_valid, valid_lengths


def test_lengths_count_the_tokens_of_each_row() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert valid_lengths(mask).tolist() == [3, 4, 0]
    assert valid_lengths(mask.bool()).tolist() == [3, 4, 0]


@pytest.mark.parametrize("row", [[0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]])
def test_a_token_after_padding_is_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="padding must be on the right"):
        valid_lengths(torch.tensor([[1, 1, 1, 1], row]))


def test_each_row_is_reversed_within_its_own_length() -> None:
    x = torch.tensor([[1, 2, 3, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [7, 0, 0, 0, 0]])
    expected = [[3, 2, 1, 0, 0], [5, 4, 3, 2, 1], [0, 0, 0, 0, 0], [7, 0, 0, 0, 0]]
    assert reverse_valid(x, torch.tensor([3, 5, 0, 1])).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_reversing_twice_gives_the_text_back_whatever_the_lengths(lengths: list[int]) -> None:
    counts = torch.tensor(lengths)
    x = torch.arange(len(lengths) * 6).view(len(lengths), 6)
    assert torch.equal(reverse_valid(reverse_valid(x, counts), counts), x)
    vectors = torch.stack([x, x + 100], dim=2)
    expected = torch.stack([reverse_valid(x, counts), reverse_valid(x + 100, counts)], dim=2)
    assert torch.equal(reverse_valid(vectors, counts), expected)
