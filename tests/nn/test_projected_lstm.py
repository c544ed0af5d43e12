"""The projected LSTM against its formulas written out, and its gradient against numerical ones."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from nlptl.nn import projected_lstm_inference
from nlptl.nn.projected_lstm import LstmState, ProjectedLstm

BATCH, TIME, INPUT, CELL, PROJECTION = 6, 9, 5, 7, 4
LENGTHS = torch.tensor([9, 3, 0, 5, 9, 1])
CELL_CLIP, PROJECTION_CLIP = 0.6, 0.3  # bounds that the states below meet now and then


def layer(cell_clip: float = CELL_CLIP, projection_clip: float = PROJECTION_CLIP) -> ProjectedLstm:
    torch.manual_seed(0)
    lstm = ProjectedLstm(INPUT, CELL, PROJECTION, cell_clip, projection_clip).double()
    for parameter in lstm.parameters():
        nn.init.normal_(parameter, std=0.7)
    return lstm


def tokens() -> Tensor:
    return torch.randn(2, BATCH, TIME, INPUT, dtype=torch.double, requires_grad=True)


def some_state() -> LstmState:
    h = torch.randn(2, BATCH, PROJECTION, dtype=torch.double).mul(0.2)
    return h, torch.randn(2, BATCH, CELL, dtype=torch.double).mul(0.5)


def written_out(
    lstm: ProjectedLstm, x: Tensor, state: LstmState | None, lengths: Tensor | None
) -> tuple[Tensor, LstmState]:
    """One direction and step after the other, as the paper has it."""
    batch, time = x.shape[1:3]
    counts = torch.full((batch,), time) if lengths is None else lengths
    states = lstm.zero_state(batch) if state is None else state
    directions = []
    for d in range(2):
        h, c = states[0][d], states[1][d]
        outputs = []
        for t in range(time):
            sums = x[d, :, t] @ lstm.weight_input[d] + h @ lstm.weight_hidden[d] + lstm.bias[d]
            i, f, o, g = sums.chunk(4, dim=1)
            new_c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-lstm.clips.cell, lstm.clips.cell)
            output = (o.sigmoid() * new_c.tanh()) @ lstm.weight_projection[d]
            output = output.clamp(-lstm.clips.projection, lstm.clips.projection)
            some = (t < counts)[:, None]
            h, c = torch.where(some, output, h), torch.where(some, new_c, c)
            outputs.append(output * some)
        directions.append((torch.stack(outputs, dim=1), h, c))
    outputs_, h_, c_ = (torch.stack(parts) for parts in zip(*directions, strict=True))
    return outputs_, (h_, c_)


@pytest.fixture(params=[True, False], ids=["ragged", "full"])
def lengths(request: pytest.FixtureRequest) -> Tensor | None:
    return LENGTHS if request.param else None


@pytest.fixture(params=[True, False], ids=["carried", "fresh"])
def state(request: pytest.FixtureRequest) -> LstmState | None:
    torch.manual_seed(1)
    return some_state() if request.param else None


def test_outputs_states_and_gradients_are_those_of_the_formulas(
    lengths: Tensor | None, state: LstmState | None
) -> None:
    lstm, x = layer(), tokens()
    expected, expected_state = written_out(lstm, x, state, lengths)
    assert (expected.abs() == PROJECTION_CLIP).any()
    assert (expected_state[1].abs() == CELL_CLIP).any()
    outputs, after = lstm(x, state, lengths)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(after, expected_state)
    weights = torch.randn_like(outputs)
    inputs = [x, *lstm.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((outputs * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
    )
    with torch.no_grad():
        outputs, after = lstm(x, state, lengths)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(after, expected_state)


def test_the_gradient_is_the_numerical_one(lengths: Tensor | None, state: LstmState | None) -> None:
    lstm = layer()
    names = [name for name, _ in lstm.named_parameters()]

    def outputs(x: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(lstm, given, (x, state, lengths))[0]
        return result

    parameters = [parameter.detach().requires_grad_() for parameter in lstm.parameters()]
    assert torch.autograd.gradcheck(outputs, (tokens(), *parameters), fast_mode=True)


def test_without_gradients_the_input_may_be_multiplied_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, x = layer(), tokens()
    with torch.no_grad():
        whole = lstm(x, None, LENGTHS)
        monkeypatch.setattr(projected_lstm_inference, "AHEAD", 2 * 4 * CELL * 7)  # seven tokens
        blocks = lstm(x, None, LENGTHS)
        monkeypatch.setattr(projected_lstm_inference, "AHEAD", 1)  # a step at a time
        steps = lstm(x, None, LENGTHS)
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(steps, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cells", [1, CELL, 3])  # the last do not divide the layer
@pytest.mark.parametrize("settled", [True, False])
def test_weights_that_are_laid_out_compute_the_same_some_cells_at_a_time(
    settled: bool, cells: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, or for one sequence of many tokens."""
    lstm, x = layer().float(), tokens().float()
    state = tuple(each.float() for each in some_state())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected, after = lstm(x, state, LENGTHS)
        monkeypatch.setattr(projected_lstm_inference, "CELLS", cells)
        if settled:
            lstm.settle(dtype)
            lstm.settle(dtype)
        else:
            monkeypatch.setattr(projected_lstm_inference, "MANY_TOKENS", 1)
        outputs, states = lstm(x, state, LENGTHS)
    assert [name for name, _ in lstm.named_parameters() if settled] == ["bias"] * settled
    close = {} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(outputs, expected, **close)
    torch.testing.assert_close(states, after, **close)


@pytest.mark.parametrize("trains", [True, False])
def test_a_row_does_not_depend_on_its_batch(trains: bool) -> None:
    lstm, x, before = layer(), tokens(), some_state()
    with torch.set_grad_enabled(trains):
        outputs, (h, c) = lstm(x, before, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            own = slice(row, row + 1)
            alone, after = lstm(x[:, own, :length], (before[0][:, own], before[1][:, own]))
            torch.testing.assert_close(outputs[:, own, :length], alone)
            torch.testing.assert_close((h[:, own], c[:, own]), after)
    assert not outputs.masked_select((torch.arange(TIME) >= LENGTHS[:, None])[..., None]).any()


def test_pieces_with_the_state_carried_are_the_whole() -> None:
    lstm, x = layer(), tokens().detach()
    whole, after = lstm(x)
    first, between = lstm(x[:, :, :4])
    second, last = lstm(x[:, :, 4:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole)
    torch.testing.assert_close(last, after)
    assert not any(part.requires_grad for part in between)  # truncated BPTT cuts here


@pytest.mark.parametrize("shape", [(2, 0, 3, INPUT), (2, 3, 0, INPUT)])
def test_nothing_to_read_is_no_error(shape: tuple[int, ...]) -> None:
    for trains in (True, False):
        with torch.set_grad_enabled(trains):
            outputs, (h, c) = layer()(torch.zeros(shape, dtype=torch.double))
        assert outputs.shape == (*shape[:3], PROJECTION)
        assert (h.shape, c.shape) == ((2, shape[1], PROJECTION), (2, shape[1], CELL))
        assert not h.any()


def test_bfloat16_products_are_close_to_float32() -> None:
    lstm = layer(3.0, 3.0).float()
    x = tokens().detach().float().requires_grad_()

    def run() -> tuple[Tensor, LstmState, tuple[Tensor, ...]]:
        outputs, after = lstm(x, None, LENGTHS)
        return outputs, after, torch.autograd.grad(outputs.square().sum(), [x, *lstm.parameters()])

    exact = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = run()
        with torch.no_grad():
            outputs, after = lstm(x, None, LENGTHS)
    assert {part.dtype for part in (close[0], *close[1], *close[2], outputs, *after)} == {torch.float32}
    torch.testing.assert_close(close[:2], exact[:2], atol=0.03, rtol=0.03)
    torch.testing.assert_close(outputs, close[0], atol=0.02, rtol=0.02)
    for found, wanted in zip(close[2], exact[2], strict=True):
        assert (found - wanted).norm() < 0.03 * wanted.norm()


def test_weights_in_bfloat16_keep_a_float32_state() -> None:
    lstm, x = layer(3.0, 3.0), tokens().detach()
    expected, _ = lstm(x, None, LENGTHS)
    outputs, after = lstm.bfloat16()(x.bfloat16(), None, LENGTHS)
    assert outputs.dtype == torch.bfloat16
    assert {part.dtype for part in after} == {torch.float32}
    torch.testing.assert_close(outputs.double(), expected, atol=0.05, rtol=0.05)


def test_without_gradients_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tensor]] = []
    step = projected_lstm_inference.step

    def watched(gates: Tensor, before: Tensor, c: Tensor, cell_clip: float) -> Tensor:
        tanh_c = step(gates, before, c, cell_clip)
        made.extend([weakref.ref(gates), weakref.ref(tanh_c)])
        return tanh_c

    monkeypatch.setattr(projected_lstm_inference, "step", watched)
    lstm, x = layer(), tokens()
    with torch.no_grad():
        outputs, _ = lstm(x)
    gc.collect()
    assert outputs.grad_fn is None
    assert len(made) == 2 * TIME
    assert all(tensor() is None for tensor in made)
    frozen = lstm.requires_grad_(False)
    assert frozen(x.detach())[0].grad_fn is None


def test_a_frozen_layer_passes_gradients_on() -> None:
    lstm, x = layer().requires_grad_(False), tokens()
    expected, _ = written_out(lstm, x, None, LENGTHS)
    outputs, _ = lstm(x, None, LENGTHS)
    torch.testing.assert_close(torch.autograd.grad(outputs.sum(), x), torch.autograd.grad(expected.sum(), x))


def test_a_new_layer_forgets_little() -> None:
    lstm = ProjectedLstm(INPUT, CELL, PROJECTION, CELL_CLIP, PROJECTION_CLIP)
    i, f, o, g = lstm.bias.chunk(4, dim=1)
    assert (f == 1).all()
    assert not torch.cat([i, o, g]).any()
