"""The time loop of an LSTM in bf16 on the CPU, and its gradient written by hand.

oneDNN's LSTM, which torch calls there, trains at half the rate of the matrix products that it is made of where the
batch has few rows, and keeps several times as much for the backward pass. Here a step is one product by a matrix that
was laid out for it once, and a few operations in place; what the inputs add to the gates, and the gradients of all
weights, are one product each for all steps.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlptl.nn.products import Product
from nlptl.nn.tanh import tanh, tanh_of_sigmoid_

KERNEL_DTYPE = torch.bfloat16
# Where one of the two does not hold oneDNN's loop is faster: its products are as good, or calling operations is most of
# the work.
MOST_ROWS, FEWEST_WEIGHTS = 64, 2_400_000


def is_worthwhile(rows: int, input_size: int, hidden_size: int) -> bool:
    """Whether so many rows train faster here than by `torch.nn.LSTM`."""
    return rows <= MOST_ROWS and 4 * hidden_size * (input_size + hidden_size) >= FEWEST_WEIGHTS


class KernelWeights:
    """Weights of one layer and direction as `torch.nn.LSTM` has them: gates input, forget, candidate, output.

    They are cast and laid out once, for all that is read by them.

    Attributes:
        input: (4 hidden, input). hidden: (4 hidden, hidden). bias: (4 hidden,), the sum of the layer's two.
    """

    def __init__(self, input: Tensor, hidden: Tensor, bias: Tensor) -> None:
        self.input, self.hidden, self.bias = input, hidden, bias
        self.cast_input, self.cast_bias = input.detach().to(KERNEL_DTYPE), bias.detach().to(KERNEL_DTYPE)
        self._cast_hidden = hidden.detach().to(KERNEL_DTYPE)

    @cached_property
    def from_state(self) -> Product:
        """A step's state to what it adds to the gates."""
        return Product(self._cast_hidden)

    @cached_property
    def to_state(self) -> Product:
        """The gradient of a step's gates to that of the state."""
        return Product(self._cast_hidden.T.contiguous())


def run_for_training(
    x: Tensor, state: tuple[Tensor, Tensor], weights: KernelWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the layer, every row at every step; gradients flow into everything.

    Products are bf16; their sums, the cells and all that is element by element fp32.

    Args:
        x: (batch, time, input), one step at least.
        state: (h, c), (batch, hidden) each.

    Returns:
        The outputs in bf16, (batch, time, hidden), and the last h and c in fp32, (batch, hidden) each.
    """
    with torch.autocast("cpu", enabled=False):
        outputs, h, c = _Lstm.apply(x, weights.input, weights.hidden, weights.bias, *state, weights)
    return outputs, h, c


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_input: Tensor,
        weight_hidden: Tensor,
        bias: Tensor,
        h: Tensor,
        c: Tensor,
        weights: KernelWeights,
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, time = x.shape[:2]
        size = h.shape[1]
        read = x.transpose(0, 1).to(KERNEL_DTYPE).contiguous()
        sums = F.linear(read.flatten(0, 1), weights.cast_input, weights.cast_bias).view(time, batch, -1)
        # The states one step before: outputs[t] is what step t begins with.
        outputs = x.new_empty(time + 1, batch, size, dtype=KERNEL_DTYPE)
        cells = c.new_empty(time + 1, batch, size, dtype=torch.float32)
        outputs[0], cells[0] = h, c
        gates = sums.new_empty(batch, 4 * size, dtype=torch.float32)
        i, f, g, o = gates.split(size, dim=1)
        last_h = torch.empty_like(cells[0])
        for step in range(time):
            gates.copy_(sums[step]).add_(weights.from_state(outputs[step]))
            g.mul_(2)
            gates.sigmoid_()
            tanh_of_sigmoid_(g)
            sums[step] = gates  # kept for the backward pass
            now = torch.mul(f, cells[step], out=cells[step + 1]).addcmul_(i, g)
            tanh(now, out=last_h).mul_(o)
            outputs[step + 1] = last_h
        ctx.save_for_backward(read, sums, outputs, cells)
        ctx.weights = weights
        ctx.dtypes = [tensor.dtype for tensor in (x, weight_input, weight_hidden, bias, h, c)]
        return outputs[1:].transpose(0, 1), last_h, cells[time].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        read, gates, outputs, cells = ctx.saved_tensors
        weights: KernelWeights = ctx.weights
        aten, (time, batch, width) = torch.ops.aten, gates.shape
        size = width // 4
        d_outputs = d_outputs.transpose(0, 1)
        d_sums = torch.empty_like(gates)
        gate, d_gate = cells.new_empty(2, batch, width).unbind(0)
        i, f, g, o = gate.split(size, dim=1)
        d_i, d_f, d_g, d_o = d_gate.split(size, dim=1)
        d_h, d_c = d_h.float().clone(), d_c.float().clone()
        tanh_c = torch.empty_like(d_c)
        for step in range(time - 1, -1, -1):
            gate.copy_(gates[step])
            tanh(cells[step + 1], out=tanh_c)
            d_h += d_outputs[step]
            torch.mul(d_h, tanh_c, out=d_o)
            d_h.mul_(o)
            d_c.add_(aten.tanh_backward.grad_input(d_h, tanh_c, grad_input=d_h))
            torch.mul(d_c, g, out=d_i)
            torch.mul(d_c, cells[step], out=d_f)
            torch.mul(d_c, i, out=d_g)
            d_c.mul_(f)
            sigmoids, d_sigmoids = gate[:, : 2 * size], d_gate[:, : 2 * size]
            aten.sigmoid_backward.grad_input(d_sigmoids, sigmoids, grad_input=d_sigmoids)
            aten.tanh_backward.grad_input(d_g, g, grad_input=d_g)
            aten.sigmoid_backward.grad_input(d_o, o, grad_input=d_o)
            d_sums[step] = d_gate
            d_h.copy_(weights.to_state(d_sums[step]))
        flat = d_sums.flatten(0, 1)
        wanted = ctx.needs_input_grad
        d_x = (flat @ weights.cast_input).view(time, batch, -1).transpose(0, 1) if wanted[0] else None
        d_input = flat.T @ read.flatten(0, 1) if wanted[1] else None
        d_hidden = flat.T @ outputs[:-1].flatten(0, 1) if wanted[2] else None
        # A sum by torch would first copy all of it to fp32.
        d_bias = (flat.new_ones(1, len(flat)) @ flat)[0] if wanted[3] else None
        found = zip((d_x, d_input, d_hidden, d_bias, d_h, d_c), ctx.dtypes, strict=True)
        return *(None if x is None else x.to(dtype) for x, dtype in found), None
