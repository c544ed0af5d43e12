"""DropConnect on the recurrent matrix of an LSTM, drawn once for each call."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from nlptl.nn.dropout import scaled_mask

LSTMState = tuple[Tensor, Tensor]
Sequence = TypeVar("Sequence", Tensor, PackedSequence)


def weight_dropped_lstm(
    lstm: nn.LSTM, x: Sequence, state: LSTMState | None, p: float, training: bool
) -> tuple[Sequence, LSTMState]:
    """Run `lstm` with dropout `p` on its hidden-to-hidden weights (AWD-LSTM, Merity et al. 2018, section 2).

    The parameters keep their native names and values: a dropped copy is put in their place for this call only, so
    evaluation is exact and saving needs no care.

    Args:
        lstm: one layer, one direction, `batch_first`.
        x: (batch, time, input width) or a packed sequence.
        state: (h, c), each (1, batch, hidden), or None for zeros.

    Returns:
        The outputs, shaped like `x` with the hidden width, and the state after the last step.
    """
    if not training or p <= 0.0:
        outputs, after = lstm(x, state)
        return outputs, after
    weight: Tensor = lstm.get_parameter("weight_hh_l0")
    dropped = weight * scaled_mask(weight, tuple(weight.shape), p)
    outputs, after = functional_call(lstm, {"weight_hh_l0": dropped}, (x, state))
    return outputs, after
