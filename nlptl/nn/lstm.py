"""torch's LSTM, on every CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nlptl.nn.autocast import has_onednn_bf16


class Lstm(nn.LSTM):
    """`torch.nn.LSTM`, which runs in fp32 where autocast asks a CPU for bf16 that has no such LSTM.

    torch hands the layer to oneDNN, whose bf16 needs AVX-512, and fails on a CPU without it.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's: (batch, time, width) or a packed sequence, and (h, c) -> outputs and the state after them."""
        device = self.weight_hh_l0.device.type
        if device != "cpu" or not torch.is_autocast_enabled("cpu") or has_onednn_bf16():
            return super().forward(input, hx)
        with torch.autocast("cpu", enabled=False):
            state = None if hx is None else tuple(x.float() for x in hx)
            return super().forward(input.float(), state)
