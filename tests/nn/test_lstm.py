"""torch's LSTM on a CPU that has none in bf16."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import nlptl.nn.lstm
from nlptl.nn.lstm import Lstm


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_where_a_cpu_has_no_lstm_in_bf16_it_is_that_of_fp32(
    packed: bool, with_state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On such a CPU torch itself fails: "could not create a primitive descriptor"."""
    monkeypatch.setattr(nlptl.nn.lstm, "has_onednn_bf16", lambda: False)
    torch.manual_seed(0)
    lstm, rows = Lstm(5, 6, batch_first=True), torch.randn(2, 4, 5)
    x = pack_sequence(list(rows)) if packed else rows
    state = tuple(torch.randn(1, 2, 6).bfloat16() for _ in range(2)) if with_state else None
    expected, after = nn.LSTM.forward(lstm, x, None if state is None else tuple(s.float() for s in state))
    with torch.autocast("cpu", torch.bfloat16):
        outputs, states = lstm(x, state)
    found = (outputs.data, expected.data) if packed else (outputs, expected)
    torch.testing.assert_close(*found)
    torch.testing.assert_close(states, after)
