"""The LSTM's loop in bf16 beside torch's LSTM: what it computes, its gradients, and when it is used."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nlptl.nn import lstm_kernel, weight_drop
from nlptl.nn.lstm import Lstm
from nlptl.nn.lstm_kernel import KernelWeights, is_worthwhile, run_for_training
from nlptl.nn.weight_drop import WeightDroppedLSTM

BATCH, TIME, INPUT, HIDDEN = 5, 9, 24, 32
ROUNDING = 2**-8  # of bf16


@pytest.fixture
def lstm() -> nn.LSTM:
    torch.manual_seed(0)
    return Lstm(INPUT, HIDDEN, batch_first=True)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, TIME, INPUT, generator=torch.Generator().manual_seed(1), requires_grad=True)


def some_state() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    h, c = (torch.randn(BATCH, HIDDEN, generator=draw, requires_grad=True) for _ in range(2))
    return h, c


def by_kernel(lstm: nn.LSTM, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    biases = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
    weights = KernelWeights(lstm.get_parameter("weight_ih_l0"), lstm.get_parameter("weight_hh_l0"), biases)
    return run_for_training(x, state, weights)


def gradients(outputs: Tensor, h: Tensor, c: Tensor, of: list[Tensor]) -> list[Tensor]:
    """Of something that all three take part in."""
    places = torch.arange(outputs.numel()).view_as(outputs).sin()
    return list(torch.autograd.grad((outputs.float() * places).sum() + h.sum() + c.square().sum(), of))


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are apart by no more than what bf16 rounds, as a share of the whole tensor."""
    return bool((found.float() - expected).norm() <= 2 * ROUNDING * expected.norm())


def test_outputs_and_states_are_those_of_torch(lstm: nn.LSTM, x: Tensor) -> None:
    h, c = some_state()
    expected, (last_h, last_c) = lstm(x, (h[None], c[None]))
    found = by_kernel(lstm, x, (h, c))
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, (expected, last_h[0], last_c[0]), strict=True):
        assert one.shape == other.shape
        assert close(one, other)


def test_gradients_of_everything_are_those_of_torch(lstm: nn.LSTM, x: Tensor) -> None:
    h, c = some_state()
    of = [x, h, c, *lstm.parameters()]
    outputs, (last_h, last_c) = lstm(x, (h[None], c[None]))
    expected = gradients(outputs, last_h, last_c, of)
    for one, other in zip(gradients(*by_kernel(lstm, x, (h, c)), of), expected, strict=True):
        assert one.dtype == other.dtype
        assert close(one, other)


def test_what_needs_no_gradient_gets_none(lstm: nn.LSTM, x: Tensor) -> None:
    lstm.get_parameter("weight_ih_l0").requires_grad_(False)
    by_kernel(lstm, x.detach(), some_state())[0].float().sum().backward()
    assert x.grad is None
    assert lstm.get_parameter("weight_ih_l0").grad is None
    assert lstm.get_parameter("weight_hh_l0").grad is not None


def test_without_packed_products_it_computes_the_same(
    lstm: nn.LSTM, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, c = some_state()
    expected = by_kernel(lstm, x, (h, c))[0]
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert close(by_kernel(lstm, x, (h, c))[0], expected.float())


def test_two_pieces_are_one_text(lstm: nn.LSTM, x: Tensor) -> None:
    h, c = some_state()
    whole = by_kernel(lstm, x, (h, c))
    first, *state = by_kernel(lstm, x[:, :4], (h, c))
    second, *last = by_kernel(lstm, x[:, 4:], (state[0], state[1]))
    assert torch.equal(torch.cat([first, second], dim=1), whole[0])
    assert all(torch.equal(one, other) for one, other in zip(last, whole[1:], strict=True))


@pytest.mark.parametrize(
    ("rows", "input_size", "hidden_size", "worthwhile"),
    [(8, 1152, 1152, True), (64, 1152, 400, True), (65, 1152, 1152, False), (8, 128, 256, False)],
)
def test_it_is_for_few_rows_of_wide_layers(
    rows: int, input_size: int, hidden_size: int, worthwhile: bool
) -> None:
    assert is_worthwhile(rows, input_size, hidden_size) is worthwhile


@pytest.mark.parametrize("kind", ["trained in bf16", "trained in fp32", "not trained", "frozen", "narrow"])
def test_it_runs_where_wide_layers_train_in_bf16(
    lstm: nn.LSTM, x: Tensor, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(*arguments: object) -> object:
        calls.append(1)
        return run_for_training(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(weight_drop, "run_for_training", counted)
    monkeypatch.setattr(lstm_kernel, "FEWEST_WEIGHTS", 10**9 if kind == "narrow" else 1)
    if kind == "frozen":
        lstm.requires_grad_(False)
        x = x.detach()
    layer = WeightDroppedLSTM(lstm, 0.5, training=True)
    with (
        torch.set_grad_enabled(kind != "not trained"),
        torch.autocast("cpu", torch.bfloat16, enabled=kind != "trained in fp32"),
    ):
        outputs, (h, c) = layer(x, None)
    assert len(calls) == (kind == "trained in bf16")
    expected, (last_h, last_c) = torch.func.functional_call(
        lstm, {"weight_hh_l0": layer.recurrent}, (x, None)
    )
    assert all(close(*pair) for pair in ((outputs, expected), (h, last_h), (c, last_c)))
