"""DropConnect on the recurrent matrix of an LSTM, drawn once for a forward pass."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from nlptl.nn.autocast import product_dtype
from nlptl.nn.dropout import scaled_mask
from nlptl.nn.lstm_kernel import KERNEL_DTYPE, KernelWeights, is_worthwhile, run_for_training

LSTMState = tuple[Tensor, Tensor]
Sequence = TypeVar("Sequence", Tensor, PackedSequence)


class WeightDroppedLSTM:
    """An LSTM with dropout `p` on its hidden-to-hidden weights (AWD-LSTM, Merity et al. 2018, section 2).

    The mask is drawn here, once: whatever is read by this object is of the same forward pass. The parameters of `lstm`
    keep their native names and values, so that evaluation is exact and saving needs no care.

    Args:
        lstm: one layer, one direction, `batch_first`.
    """

    def __init__(self, lstm: nn.LSTM, p: float, training: bool) -> None:
        self.lstm = lstm
        self.recurrent: Tensor = lstm.get_parameter("weight_hh_l0")
        self.is_dropped = training and p > 0.0
        if self.is_dropped:
            self.recurrent = self.recurrent * scaled_mask(self.recurrent, tuple(self.recurrent.shape), p)
        self._kernel_weights: KernelWeights | None = None

    def __call__(self, x: Sequence, state: LSTMState | None) -> tuple[Sequence, LSTMState]:
        """Read a sequence.

        Args:
            x: (batch, time, input width) or a packed sequence.
            state: (h, c), each (1, batch, hidden), or None for zeros.

        Returns:
            The outputs, shaped like `x` with the hidden width, and the state after the last step.
        """
        if isinstance(x, Tensor) and self._wants_kernel(x):
            return self._by_kernel(x, state)
        if not self.is_dropped:
            outputs, after = self.lstm(x, state)
        else:
            outputs, after = functional_call(self.lstm, {"weight_hh_l0": self.recurrent}, (x, state))
        return outputs, after

    def _wants_kernel(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and product_dtype(x) == KERNEL_DTYPE
            and torch.is_grad_enabled()
            and (x.requires_grad or any(weight.requires_grad for weight in self.lstm.parameters()))
            and is_worthwhile(x.shape[0], self.lstm.input_size, self.lstm.hidden_size)
        )

    def _by_kernel(self, x: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        if self._kernel_weights is None:
            names = ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0")
            weight, bias, other_bias = (self.lstm.get_parameter(name) for name in names)
            self._kernel_weights = KernelWeights(weight, self.recurrent, bias + other_bias)
        zeros = self.recurrent.new_zeros(1, x.shape[0], self.lstm.hidden_size)
        h, c = (zeros, zeros) if state is None else state
        outputs, h, c = run_for_training(x, (h[0], c[0]), self._kernel_weights)
        return outputs, (h[None], c[None])
