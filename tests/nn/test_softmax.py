"""The chunked cross entropy against torch's own, and the sampled one against the full."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nlptl.nn import softmax
from nlptl.nn.softmax import Candidates, CandidateSampler, linear_cross_entropy, sampled_cross_entropy

CPU = torch.device("cpu")
TOKENS, VOCABULARY, WIDTH = 23, 17, 6


class OperatorLog(TorchDispatchMode):
    """Names of the operators run, and the most elements that any of their results held."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(func.__name__)
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden vectors, weight and bias that want gradients, and targets of which some are left out."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, requires_grad=True)
    bias = torch.randn(VOCABULARY, generator=generator, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)
    targets[[2, 3, 11]] = -100
    return hidden, weight, bias, targets


def reference(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T + bias, targets)


@pytest.mark.parametrize("few", [1, 3, 1000])
@pytest.mark.parametrize("rows", [1, 5, TOKENS, 1000])
def test_value_and_gradients_are_those_of_torch_however_it_is_cut(
    rows: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "CHUNK_ELEMENTS", rows * VOCABULARY)
    monkeypatch.setattr(softmax, "CACHED_ELEMENTS", few * VOCABULARY)
    hidden, weight, bias, targets = problem()
    loss = linear_cross_entropy(hidden, weight, bias, targets)
    expected = reference(hidden, weight, bias, targets)
    torch.testing.assert_close(loss, expected)
    # A factor on the loss, as gradient accumulation puts there, must reach the gradients.
    gradients = torch.autograd.grad(0.25 * loss, [hidden, weight, bias])
    torch.testing.assert_close(gradients, torch.autograd.grad(0.25 * expected, [hidden, weight, bias]))


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_frozen_operand_is_left_out_and_the_others_still_learn(frozen: int) -> None:
    *operands, targets = problem()
    operands[frozen] = operands[frozen].detach()
    trained = [x for x in operands if x.requires_grad]
    hidden, weight, bias = operands
    gradients = torch.autograd.grad(linear_cross_entropy(hidden, weight, bias, targets), trained)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(reference(hidden, weight, bias, targets), trained)
    )


def test_extreme_logits_do_not_overflow() -> None:
    hidden, weight, bias, targets = problem()
    loss = linear_cross_entropy(hidden * 1e4, weight, bias, targets)
    torch.testing.assert_close(loss, reference(hidden * 1e4, weight, bias, targets))


def test_no_target_at_all_is_zero_without_gradient() -> None:
    hidden, weight, bias, targets = problem()
    loss = linear_cross_entropy(hidden, weight, bias, torch.full_like(targets, -100))
    loss.backward()
    assert loss.item() == 0
    assert all(x.grad is not None and bool((x.grad == 0).all()) for x in (hidden, weight, bias))


def test_under_bf16_autocast_the_loss_is_fp32_and_close() -> None:
    hidden, weight, bias, targets = problem()
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, bias, targets)
    expected = reference(hidden, weight, bias, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    operands = [hidden, weight, bias]
    exact = torch.autograd.grad(expected, operands)
    for gradient, ideal in zip(torch.autograd.grad(loss, operands), exact, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - ideal).norm() < 0.02 * ideal.norm()


def test_tokens_times_vocabulary_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CHUNK_ELEMENTS", 8 * VOCABULARY)
    hidden = torch.randn(500, WIDTH, requires_grad=True)
    _, weight, bias, _ = problem()
    targets = torch.randint(0, VOCABULARY, (500,))
    with OperatorLog() as log:
        linear_cross_entropy(hidden, weight, bias, targets).backward()
    assert log.largest == hidden.numel() < 500 * VOCABULARY


def test_evaluation_does_not_pay_for_gradients() -> None:
    hidden, weight, bias, targets = problem()
    with torch.no_grad(), OperatorLog() as log:
        linear_cross_entropy(hidden, weight, bias, targets)
    assert log.names.count("mm.default") == 1


def test_every_word_as_a_candidate_once_is_the_full_softmax() -> None:
    hidden, weight, bias, targets = problem()
    everything = Candidates(ids=torch.randperm(VOCABULARY), log_expected=torch.zeros(VOCABULARY))
    loss = sampled_cross_entropy(hidden, weight, bias, targets, everything)
    expected = reference(hidden, weight, bias, targets)
    torch.testing.assert_close(loss, expected)
    operands = [hidden, weight, bias]
    torch.testing.assert_close(torch.autograd.grad(loss, operands), torch.autograd.grad(expected, operands))


def test_very_many_drawn_candidates_approach_the_full_softmax() -> None:
    torch.manual_seed(0)
    hidden, weight, bias, targets = problem()
    sampler = CandidateSampler(torch.arange(1, VOCABULARY + 1), size=20_000)
    loss = sampled_cross_entropy(hidden, weight, bias, targets, sampler.draw(0, CPU))
    torch.testing.assert_close(loss, reference(hidden, weight, bias, targets), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "size",
    [
        10,
        pytest.param(120),
    ],
)
def test_training_against_candidates_finds_the_true_distribution(size: int) -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.70, 0.15, 0.10, *([0.05 / 37] * 37)])
    targets = torch.repeat_interleave(torch.arange(40), (shares * 740).round().long())
    sampler = CandidateSampler(torch.full((40,), 1000), size)
    bias = torch.zeros(40, requires_grad=True)
    optimizer = torch.optim.Adam([bias], lr=0.03, betas=(0.9, 0.99))
    hidden, weight, learned = torch.zeros(len(targets), 1), torch.zeros(40, 1), torch.zeros(40)
    for step in range(800):
        optimizer.zero_grad()
        sampled_cross_entropy(hidden, weight, bias, targets, sampler.draw(step, CPU)).backward()
        optimizer.step()
        if step >= 400:  # averaged, for the candidates are common to all targets and so rather noisy
            learned += bias.detach().softmax(0) / 400
    torch.testing.assert_close(learned[:3], shares[:3], rtol=0, atol=0.03)


def test_a_target_is_never_its_own_negative() -> None:
    hidden, weight, bias, _ = problem()
    target = torch.full((TOKENS,), 4)
    only_itself = Candidates(ids=torch.full((9,), 4), log_expected=torch.zeros(VOCABULARY))
    loss = sampled_cross_entropy(hidden, weight, bias, target, only_itself)
    loss.backward()
    assert loss.item() == 0  # nothing is left to be told apart from
    assert all(x.grad is not None and bool((x.grad == 0).all()) for x in (hidden, weight, bias))


def test_ignored_targets_are_left_out_and_none_left_is_zero() -> None:
    hidden, weight, bias, targets = problem()
    candidates = CandidateSampler(torch.ones(VOCABULARY), 8).draw(0, CPU)
    kept = targets != -100
    loss = sampled_cross_entropy(hidden, weight, bias, targets, candidates)
    torch.testing.assert_close(
        loss, sampled_cross_entropy(hidden[kept], weight, bias, targets[kept], candidates)
    )
    nothing = sampled_cross_entropy(hidden, weight, bias, torch.full_like(targets, -100), candidates)
    nothing.backward()
    assert nothing.item() == 0


def test_only_targets_and_candidates_get_gradients_and_these_are_finite() -> None:
    hidden, weight, bias, targets = problem()
    candidates = Candidates(ids=torch.tensor([1, 1, 2]), log_expected=torch.zeros(VOCABULARY))
    targets = torch.full_like(targets, 5)
    sampled_cross_entropy(hidden * 1e3, weight, bias, targets, candidates).backward()
    assert weight.grad is not None
    assert bool(weight.grad.isfinite().all())
    assert weight.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [1, 2, 5]


def test_words_are_among_the_candidates_as_often_as_expected() -> None:
    sampler = CandidateSampler(torch.tensor([0, 9, 99, 999]), size=5)
    found = torch.zeros(4)
    for step in range(4000):
        found += torch.bincount(sampler.draw(step, CPU).ids, minlength=4) / 4000
    torch.testing.assert_close(found, sampler.log_expected.exp(), rtol=0.05, atol=0.01)


def test_a_candidate_is_drawn_by_the_counts_to_the_power_of_three_quarters() -> None:
    counts = torch.tensor([0, 9, 99, 999])
    sampler = CandidateSampler(counts, size=1)
    drawn = (
        torch.bincount(torch.cat([sampler.draw(step, CPU).ids for step in range(4000)]), minlength=4) / 4000
    )
    shares = (counts + 1.0) ** 0.75
    torch.testing.assert_close(drawn, shares / shares.sum(), rtol=0.05, atol=0.01)


def test_candidates_are_those_of_the_seed_and_the_step() -> None:
    """Whatever else is drawn: processes that share a batch, and a run that goes on, have the same."""
    counts = torch.ones(50)
    first = CandidateSampler(counts, 30, seed=3).draw(7, CPU).ids
    torch.rand(5)
    assert torch.equal(first, CandidateSampler(counts, 30, seed=3).draw(7, CPU).ids)
    for seed, step in ((3, 8), (4, 7)):
        assert not torch.equal(first, CandidateSampler(counts, 30, seed).draw(step, CPU).ids)


def test_flat_logits_cost_the_log_of_the_vocabulary() -> None:
    hidden, weight = torch.zeros(TOKENS, WIDTH), torch.zeros(VOCABULARY, WIDTH)
    loss = linear_cross_entropy(hidden, weight, torch.zeros(VOCABULARY), problem()[3])
    assert loss.item() == pytest.approx(math.log(VOCABULARY))  # nats


@pytest.mark.parametrize("with_bias", [True, False])
def test_label_smoothing_and_the_weights_of_tokens_are_torch_s(
    with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "CHUNK_ELEMENTS", 30)
    torch.manual_seed(0)
    hidden, weight = torch.randn(9, 4, requires_grad=True), torch.randn(10, 4, requires_grad=True)
    bias = torch.randn(10, requires_grad=True) if with_bias else None
    targets, weights = torch.randint(0, 10, (9,)), torch.rand(9)
    targets[3] = -100
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    logits = F.linear(hidden, weight, bias)
    for smoothing in (0.0, 0.1):
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        trials = [
            (
                softmax.linear_cross_entropy(hidden, weight, bias, targets, weights, smoothing),
                (losses * weights).sum(),
            ),
            (softmax.linear_cross_entropy(hidden, weight, bias, targets, None, smoothing), losses.sum() / 8),
        ]
        for found, expected in trials:
            torch.testing.assert_close(found, expected)
            pairs = zip(
                torch.autograd.grad(found, inputs),
                torch.autograd.grad(expected, inputs, retain_graph=True),
                strict=True,
            )
            for one, other in pairs:
                torch.testing.assert_close(one, other)
