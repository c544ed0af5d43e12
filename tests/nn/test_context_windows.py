"""Windows of documents longer than a context: every token once, in the window that is best for it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nlptl.nn.context_windows import ContextWindows, in_parts


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    context=st.integers(2, 12),
    causal=st.booleans(),
)
def test_every_token_belongs_to_one_window_and_comes_back_to_its_place(
    lengths: list[int], context: int, causal: bool
) -> None:
    windows = ContextWindows.of(torch.tensor(lengths), context, causal=causal)
    time = max(1, *lengths)
    tokens = torch.arange(1, len(lengths) * time + 1).view(len(lengths), time)
    tokens = tokens * (torch.arange(time) < torch.tensor(lengths)[:, None])
    assert windows.valid.shape[1] <= context
    assert int(windows.owned.sum()) == sum(lengths)
    assert torch.equal(windows.joined(windows.cut(tokens), time), tokens)
    for text, length in enumerate(lengths):
        alone = ContextWindows.of(torch.tensor([length]), context, causal=causal)
        mine = windows.of_text == text
        assert torch.equal(windows.start[mine], alone.start)  # whatever stands beside it
        assert torch.equal(windows.owned[mine][:, : alone.owned.shape[1]], alone.owned)


@pytest.mark.parametrize(
    ("causal", "owned"),
    [
        (True, [(0, 0, 8), (4, 8, 12), (8, 12, 16), (12, 16, 19)]),
        (False, [(0, 0, 6), (4, 6, 10), (8, 10, 14), (12, 14, 19)]),
    ],
)
def test_which_tokens_a_window_speaks_for(causal: bool, owned: list[tuple[int, int, int]]) -> None:
    """Of nineteen tokens in a context of eight: (start, first owned, end of the owned)."""
    windows = ContextWindows.of(torch.tensor([19]), 8, causal=causal)
    found = []
    for start, own in zip(windows.start.tolist(), windows.owned, strict=True):
        places = own.nonzero().flatten() + start
        found.append((start, int(places[0]), int(places[-1]) + 1))
    assert found == owned
    assert windows.from_end.tolist() == [3, 2, 1, 0]
    assert windows.beginnings(2).tolist() == [owned[2][1]]
    assert windows.beginnings(9).tolist() == [0]


def test_a_document_that_fits_has_one_window() -> None:
    windows = ContextWindows.of(torch.tensor([8, 0, 3]), 8, causal=True)
    assert windows.of_text.tolist() == [0, 1, 2]
    assert windows.lengths.tolist() == [8, 0, 3]
    assert torch.equal(windows.owned, windows.valid)


def test_the_end_of_documents_can_be_joined_alone() -> None:
    windows = ContextWindows.of(torch.tensor([19, 5]), 8, causal=True)
    tokens = torch.arange(38).view(2, 19)
    first, last = windows.beginnings(1), windows.chosen(windows.from_end == 0)
    joined = last.joined(last.cut(tokens), 5, first)
    assert joined.tolist() == [[16, 17, 18, 0, 0], [19, 20, 21, 22, 23]]


def test_what_is_not_trained_is_read_without_keeping_anything() -> None:
    x = torch.ones(3, requires_grad=True)
    told = []

    def read(chosen: Tensor, kept: bool) -> Tensor:
        told.append((chosen.tolist(), kept))
        return x[chosen] * 2

    untrained, trained = in_parts(torch.tensor([False, True, True]), read)
    assert told == [([True, False, False], False), ([False, True, True], True)]
    assert not untrained.requires_grad
    assert trained.requires_grad
    assert len(in_parts(torch.tensor([False, False, False]), read)) == 1
    with torch.no_grad():
        assert not in_parts(torch.tensor([True]), lambda chosen, kept: x[:1] * 2)[0].requires_grad
