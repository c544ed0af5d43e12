"""Attention against the formula of the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nlptl.nn import attention_kernel
from nlptl.nn.attention import attend


def written_out(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool, mask: Tensor | None) -> Tensor:
    """Section 3.2.1 of Vaswani et al. (2017), head by head."""
    width = q.shape[2] // heads
    results = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[:, :, part] @ k[:, :, part].transpose(1, 2) / width**0.5
        if causal:
            places = torch.arange(k.shape[1])
            scores = scores.masked_fill(places > torch.arange(q.shape[1])[:, None], float("-inf"))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
        results.append(scores.softmax(dim=2) @ v[:, :, part])
    return torch.cat(results, dim=2)


@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True)])
def test_it_is_the_paper_s(causal: bool, masked: bool) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 12), torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]]) if masked else None
    found = attend(q, k, v, 3, causal=causal, key_mask=mask)
    torch.testing.assert_close(found, written_out(q, k, v, 3, causal, mask))


def test_queries_may_read_another_text() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 12), torch.randn(2, 7, 12), torch.randn(2, 7, 12)
    torch.testing.assert_close(attend(q, k, v, 4), written_out(q, k, v, 4, False, None))


def test_no_matrix_of_scores_is_kept_for_the_backward_pass() -> None:
    """What is kept grows with the length of a text, not with its square."""
    kept = []
    for time in (64, 256):
        sizes: dict[int, int] = {}

        def keep(x: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        q, k, v = (torch.randn(1, time, 8, requires_grad=True) for _ in range(3))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            attend(q, k, v, 2, causal=True)
        kept.append(sum(sizes.values()))
    assert kept[1] <= 4.5 * kept[0]


def test_dropout_is_of_the_weights() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 50, 8), torch.randn(1, 50, 8), torch.ones(1, 50, 8)
    assert torch.allclose(attend(q, k, v, 2), torch.ones(1, 50, 8))
    dropped = attend(q, k, v, 2, dropout=0.5)
    assert 0.8 < float(dropped.mean()) < 1.2
    assert float(dropped.std()) > 0.05


def bf16(compute: Callable[[], Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return compute()


@pytest.mark.parametrize("scores", [1, 2**14, 2**21])  # each text alone, some together, all
@pytest.mark.parametrize(
    ("time", "read", "causal", "masked"), [(150, 150, True, False), (70, 130, False, True)]
)
def test_in_bf16_it_is_that_of_fp32_but_for_rounding(
    time: int, read: int, causal: bool, masked: bool, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more queries than are read at a time; and so are its gradients."""
    monkeypatch.setattr(attention_kernel, "SCORES", scores)
    torch.manual_seed(0)
    leaves = [torch.randn(3, count, 24, requires_grad=True) for count in (time, read, read)]
    mask = torch.arange(read) < torch.tensor([read, read - 40, 1])[:, None] if masked else None
    wanted = written_out(*leaves, 4, causal, mask)
    found = bf16(lambda: attend(*leaves, 4, causal=causal, key_mask=mask))
    direction = torch.randn_like(wanted)
    for one, other in zip(
        (found, *torch.autograd.grad(found, leaves, direction)),
        (wanted, *torch.autograd.grad(wanted, leaves, direction)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=2**-5, atol=2**-6)


@pytest.mark.parametrize(("causal", "masked"), [(True, False), (False, True)])
def test_gradients_with_dropout_are_those_of_what_was_computed(causal: bool, masked: bool) -> None:
    """By finite differences in double, the same weights dropped each time."""
    mask = torch.tensor([[True] * 66, [True] * 3 + [False] * 63]) if masked else None

    def dropped(*leaves: Tensor) -> Tensor:
        torch.manual_seed(1)
        return attend(*leaves, 2, causal=causal, key_mask=mask, dropout=0.4)

    torch.manual_seed(0)
    leaves = [torch.randn(2, 66, 4, dtype=torch.double, requires_grad=True) for _ in range(3)]
    assert not torch.equal(dropped(*leaves), attend(*leaves, 2, causal=causal, key_mask=mask))
    assert torch.autograd.gradcheck(dropped, leaves, fast_mode=True)


def test_what_is_hidden_changes_nothing() -> None:
    """Neither padding nor the number of neighbours, but for the order of sums."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 5, 40, 8)
    mask = torch.arange(40) < torch.tensor([40, 9, 25, 33, 1])[:, None]
    together = bf16(lambda: attend(q, k, v, 2, key_mask=mask))
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        own = [x[row : row + 1, :length] for x in (q, k, v)]
        alone = bf16(lambda own=own: attend(*own, 2))  # type: ignore[misc]
        torch.testing.assert_close(together[row : row + 1, :length], alone, rtol=2**-7, atol=2**-8)
