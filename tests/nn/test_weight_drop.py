"""Weight drop: a dropped copy of the recurrent matrix for one pass, and the parameter itself left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nlptl.nn import dropout, weight_drop
from nlptl.nn.weight_drop import WeightDroppedLSTM


@pytest.fixture
def lstm() -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(5, 7, batch_first=True)


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every mask drawn while the test runs."""
    drawn: list[Tensor] = []
    draw = dropout.scaled_mask

    def recording(reference: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
        drawn.append(draw(reference, shape, p))
        return drawn[-1]

    monkeypatch.setattr(weight_drop, "scaled_mask", recording)
    return drawn


def test_evaluation_is_the_plain_lstm(lstm: nn.LSTM) -> None:
    x = torch.randn(3, 4, 5)
    output, (h, c) = WeightDroppedLSTM(lstm, 0.5, training=False)(x, None)
    expected, (expected_h, expected_c) = lstm(x)
    assert torch.equal(output, expected)
    assert torch.equal(h, expected_h)
    assert torch.equal(c, expected_c)


def test_one_mask_serves_all_time_steps_of_a_call(lstm: nn.LSTM, masks: list[Tensor]) -> None:
    x = torch.randn(3, 6, 5)
    state = (torch.randn(1, 3, 7), torch.randn(1, 3, 7))
    output, (h, c) = WeightDroppedLSTM(lstm, 0.5, training=True)(x, state)
    assert len(masks) == 1
    plain = copy.deepcopy(lstm)
    with torch.no_grad():
        plain.get_parameter("weight_hh_l0").mul_(masks[0])
    expected, (expected_h, expected_c) = plain(x, state)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(h, expected_h)
    torch.testing.assert_close(c, expected_c)


def test_the_pieces_of_one_pass_share_its_mask(lstm: nn.LSTM) -> None:
    x, dropped = torch.randn(3, 8, 5), WeightDroppedLSTM(lstm, 0.5, training=True)
    whole, (h, c) = dropped(x, None)
    first, state = dropped(x[:, :3], None)
    second, (last_h, last_c) = dropped(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close((last_h, last_c), (h, c))


def test_each_pass_draws_anew(lstm: nn.LSTM, masks: list[Tensor]) -> None:
    x = torch.randn(3, 4, 5)
    for _ in range(2):
        WeightDroppedLSTM(lstm, 0.5, training=True)(x, None)
    assert len(masks) == 2
    assert not torch.equal(masks[0], masks[1])


def test_the_parameter_and_its_name_stay_as_they_are(lstm: nn.LSTM) -> None:
    parameter, before = lstm.weight_hh_l0, copy.deepcopy(lstm.state_dict())
    WeightDroppedLSTM(lstm, 0.5, training=True)(torch.randn(3, 4, 5), None)
    assert lstm.weight_hh_l0 is parameter
    assert list(lstm.state_dict()) == list(before)
    assert all(torch.equal(lstm.state_dict()[name], value) for name, value in before.items())


def test_training_leaves_no_dropped_copy_behind(lstm: nn.LSTM) -> None:
    # torch's LSTM keeps a list of what its kernels read beside the parameters; no dropped copy may stay there.
    x = torch.randn(3, 4, 5)
    before = lstm(x)[0]
    WeightDroppedLSTM(lstm, 0.5, training=True)(x, None)
    assert torch.equal(copy.deepcopy(lstm)(x)[0], before)
    assert torch.equal(WeightDroppedLSTM(lstm, 0.5, training=False)(x, None)[0], before)
    with torch.no_grad():
        lstm.get_parameter("weight_hh_l0").zero_()
    assert not torch.equal(lstm(x)[0], before)


def test_gradients_vanish_exactly_where_weights_were_dropped(lstm: nn.LSTM, masks: list[Tensor]) -> None:
    output, _ = WeightDroppedLSTM(lstm, 0.5, training=True)(torch.randn(4, 5, 5), None)
    output.pow(2).sum().backward()
    gradients = {name: parameter.grad for name, parameter in lstm.named_parameters()}
    recurrent = gradients.pop("weight_hh_l0")
    assert recurrent is not None
    assert torch.equal(recurrent == 0, masks[0] == 0)
    assert all(gradient is not None and bool((gradient != 0).all()) for gradient in gradients.values())


def test_a_packed_sequence_is_run_as_its_rows_are(lstm: nn.LSTM, masks: list[Tensor]) -> None:
    x, lengths = torch.randn(3, 6, 5), torch.tensor([2, 6, 4])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, (h, _) = WeightDroppedLSTM(lstm, 0.5, training=True)(packed, None)  # type: ignore[arg-type]
    padded, _ = pad_packed_sequence(output, batch_first=True)  # type: ignore[arg-type]
    with torch.no_grad():
        lstm.get_parameter("weight_hh_l0").mul_(masks[0])
    for row, length in enumerate(lengths.tolist()):
        alone, (alone_h, _) = lstm(x[row : row + 1, :length])
        torch.testing.assert_close(padded[row : row + 1, :length], alone)
        torch.testing.assert_close(h[:, row : row + 1], alone_h)
