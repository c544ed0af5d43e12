"""The time loop of the projected LSTM, and its gradient written by hand.

Automatic differentiation would keep and revisit a dozen small tensors for every step. Here a step is one product for
all directions and a few operations in place, and gradients of the weights are one product each after the loop.

Tokens are packed; the rows at a step are the first of those one step before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlptl.nn.autocast import product_dtype
from nlptl.nn.packing import Packing
from nlptl.nn.tanh import tanh, tanh_of_sigmoid_

LstmState = tuple[Tensor, Tensor]


class Clips(NamedTuple):
    """Bounds of the cell's state and of the projected output."""

    cell: float
    projection: float


class Matrices(NamedTuple):
    """A layer's weights, used as x @ W.

    Attributes:
        input: (D, input, 4 cell). hidden: (D, projection, 4 cell). bias: (D, 4 cell).
        projection: (D, cell, projection).
    """

    input: Tensor
    hidden: Tensor
    bias: Tensor
    projection: Tensor


def step(gates: Tensor, before: Tensor, c: Tensor, cell_clip: float) -> Tensor:
    """One step's element-wise part up to the hyperbolic tangent of the cell, which is returned.

    Args:
        gates: (..., rows, 4 cell), the sums on entry, the gates on exit.
        before: (..., rows, cell), the cells one step ago; may be `c` itself.
        c: (..., rows, cell), written.
    """
    size = c.shape[-1]
    candidate = gates[..., 3 * size :]
    candidate.mul_(2)
    gates.sigmoid_()
    tanh_of_sigmoid_(candidate)
    torch.mul(before, gates[..., size : 2 * size], out=c)
    c.addcmul_(gates[..., :size], candidate).clamp_(-cell_clip, cell_clip)
    return tanh(c)


def run_for_training(
    x: Tensor, state: LstmState, weights: Matrices, packing: Packing, clips: Clips
) -> tuple[Tensor, LstmState]:
    """Run the loop, with gradients for `x` and the weights.

    Args:
        x: (D, batch, time, input).
        state: (D, batch, projection) and (D, batch, cell), in fp32 or wider, the rows in the order of the packing.

    Returns:
        Outputs (D, batch, time, projection), and the state after each row's last token, in the packing's order.
    """
    h, c = state
    dtype = product_dtype(weights.input)
    with torch.autocast(x.device.type, enabled=False):
        outputs, last_h, last_c = _ProjectedLstm.apply(x, *weights, h, c, packing, clips, dtype)
    return outputs, (last_h, last_c)


class _ProjectedLstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_input: Tensor,
        weight_hidden: Tensor,
        bias: Tensor,
        weight_projection: Tensor,
        h: Tensor,
        c: Tensor,
        packing: Packing,
        clips: Clips,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # What a token meets, its own vector and the recurrent state side by side, takes part in one product.
        weight = torch.cat([weight_input, weight_hidden], dim=1).to(dtype)
        projection, offset = weight_projection.to(dtype), bias.to(dtype)[:, None]
        directions, width, size = x.shape[0], x.shape[3], c.shape[2]
        tokens = len(packing.index)
        read = x.new_empty(directions, tokens, weight.shape[1], dtype=dtype)
        read[..., :width] = packing.pack(x)
        gated = read.new_empty(directions, tokens, size)  # what is projected
        cells = c.new_empty(directions, tokens, size)
        outputs = c.new_empty(directions, tokens, h.shape[2])
        gates = []
        start, before_h, before_c = 0, h, c
        for rows in packing.counts:
            now = slice(start, start + rows)
            read[:, now, width:] = before_h[:, :rows]
            gate = torch.baddbmm(offset, read[:, now], weight).to(c.dtype)
            tanh_c = step(gate, before_c[:, :rows], cells[:, now], clips.cell)
            torch.mul(tanh_c, gate[..., 2 * size : 3 * size], out=gated[:, now])
            outputs[:, now] = torch.bmm(gated[:, now], projection)
            before_h, before_c = outputs[:, now].clamp_(-clips.projection, clips.projection), cells[:, now]
            gates.append(gate)
            start += rows
        ctx.save_for_backward(weight, projection, c, read, gated, cells, outputs, *gates)
        ctx.packing, ctx.clips = packing, clips
        ctx.set_materialize_grads(False)
        some, last = (packing.last >= 0)[:, None], packing.last.clamp(min=0)
        last_h, last_c = h, c
        if tokens:
            last_h = torch.where(some, outputs[:, last], h)
            last_c = torch.where(some, cells[:, last], c)
        ctx.mark_non_differentiable(last_h, last_c)
        return packing.unpack(outputs, *x.shape[1:3]), last_h, last_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 10
        weight, projection, c, read, gated, cells, outputs, *gates = ctx.saved_tensors
        width = read.shape[2] - outputs.shape[2]
        with torch.autocast(c.device.type, enabled=False):
            grads = _Gradients(weight, projection, c, read, outputs)
            grad_outputs = ctx.packing.pack(grad)
            start = outputs.shape[1]
            counts = ctx.packing.counts
            for step in range(len(counts) - 1, -1, -1):
                start -= counts[step]
                now = slice(start, start + counts[step])
                before = c if step == 0 else cells[:, start - counts[step - 1] : start]
                grads.step(grad_outputs, outputs, cells, before, gates[step], now, ctx.clips)
            grad_weight = torch.bmm(read.transpose(1, 2), grads.sums).to(c.dtype)
            grad_projection = torch.bmm(gated.transpose(1, 2), grads.projected).to(c.dtype)
            grad_x = ctx.packing.unpack(grads.read[..., :width].to(grad.dtype), *grad.shape[1:3])
        grad_input, grad_hidden = grad_weight[:, :width], grad_weight[:, width:]
        return grad_x, grad_input, grad_hidden, grads.bias, grad_projection, *(None,) * 5


class _Gradients:
    """What is carried from step to step, from the last to the first, and gathered over all of them.

    Attributes:
        read: (D, tokens, input + projection), of what the tokens met.
        sums: (D, tokens, 4 cell), of the sums that make the gates. projected: (D, tokens, projection), of the
            projections before they are clipped.
        bias: (D, 4 cell).
        h, c: (D, batch, ...), of the state that the step after left.
    """

    def __init__(self, weight: Tensor, projection: Tensor, c: Tensor, read: Tensor, outputs: Tensor) -> None:
        directions, batch, size = c.shape
        self.weight, self.weight_projection = weight.transpose(1, 2), projection.transpose(1, 2)
        self.read = torch.empty_like(read)
        self.sums = read.new_empty(*read.shape[:2], 4 * size)
        self.projected = torch.empty_like(outputs, dtype=read.dtype)
        self.bias = c.new_zeros(directions, 4 * size)
        self.h = outputs.new_zeros(directions, batch, outputs.shape[2])
        self.c = torch.zeros_like(c)
        self.scratch, self.scratch_gates = torch.empty_like(c), c.new_empty(directions, batch, 4 * size)

    def step(
        self,
        grad_outputs: Tensor,
        outputs: Tensor,
        cells: Tensor,
        before: Tensor,
        gate: Tensor,
        now: slice,
        clips: Clips,
    ) -> None:
        """Go back over one step.

        Args:
            before: (D, rows or more, cell), the cells that the step began with.
            gate: (D, rows, 4 cell). now: the step's tokens.
        """
        aten, size, rows = torch.ops.aten, cells.shape[2], gate.shape[1]
        d_c, temp, d_gate = self.c[:, :rows], self.scratch[:, :rows], self.scratch_gates[:, :rows]
        i, f, o, g = gate.split(size, dim=2)
        d_i, d_f, d_o, d_g = d_gate.split(size, dim=2)
        d_h = self.h[:, :rows].add_(grad_outputs[:, now])
        d_projected = self.projected[:, now]
        d_projected.copy_(aten.hardtanh_backward(d_h, outputs[:, now], -clips.projection, clips.projection))
        temp.copy_(torch.bmm(d_projected, self.weight_projection))  # of o * tanh(c)
        tanh_c = tanh(cells[:, now])
        torch.mul(temp, tanh_c, out=d_o)
        temp.mul_(o)
        d_c.add_(aten.tanh_backward.grad_input(temp, tanh_c, grad_input=temp))
        aten.hardtanh_backward.grad_input(d_c, cells[:, now], -clips.cell, clips.cell, grad_input=d_c)
        torch.mul(d_c, g, out=d_i)
        torch.mul(d_c, before[:, :rows], out=d_f)
        torch.mul(d_c, i, out=temp)
        sigmoids, d_sigmoids = gate[..., : 3 * size], d_gate[..., : 3 * size]
        aten.sigmoid_backward.grad_input(d_sigmoids, sigmoids, grad_input=d_sigmoids)
        aten.tanh_backward.grad_input(temp, g, grad_input=d_g)
        d_c.mul_(f)
        self.bias += d_gate.sum(dim=1)
        d_read = self.read[:, now]
        d_read.copy_(torch.bmm(self.sums[:, now].copy_(d_gate), self.weight))
        self.h[:, :rows] = d_read[..., -outputs.shape[2] :]
