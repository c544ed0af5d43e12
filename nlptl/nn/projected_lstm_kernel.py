"""The time loop of the projected LSTM over packed tokens, and its gradient written by hand.

Automatic differentiation would keep and revisit a dozen small tensors for every step. Here a step is one product for
all directions and a few operations in place; gradients of the weights are one product each after the loop. tanh is
taken as 2 sigmoid(2x) - 1, which the CPU computes several times faster.

Packed tokens stand step by step, `counts[t]` rows at step t, and the rows at a step are the first of those before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlptl.nn.autocast import product_dtype

BLOCK_ELEMENTS = 2**23

State = tuple[Tensor, Tensor]


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

    def to(self, dtype: torch.dtype) -> Matrices:
        """The same in another type."""
        return Matrices(*(weight.to(dtype) for weight in self))


def _tanh(x: Tensor) -> Tensor:
    return x.mul(2).sigmoid_().mul_(2).sub_(1)


def _step(gates: Tensor, before: Tensor, c: Tensor, cell_clip: float) -> Tensor:
    """One step's element-wise part up to the hyperbolic tangent of the cell, which is returned.

    Args:
        gates: (D, rows, 4 cell), the sums on entry, the gates on exit.
        before: (D, rows, cell), the cells one step ago; may be `c` itself.
        c: (D, rows, cell), written.
    """
    size = c.shape[2]
    candidate = gates[..., 3 * size :]
    candidate.mul_(2)
    gates.sigmoid_()
    candidate.mul_(2).sub_(1)
    torch.mul(before, gates[..., size : 2 * size], out=c)
    c.addcmul_(gates[..., :size], candidate).clamp_(-cell_clip, cell_clip)
    return _tanh(c)


def run_without_gradient(
    x: Tensor, h: Tensor, c: Tensor, weights: Matrices, counts: list[int], clips: Clips
) -> tuple[Tensor, State]:
    """Run the loop and keep nothing but the outputs.

    Args:
        x: (D, tokens, input), packed. h, c: (D, batch, projection), (D, batch, cell); overwritten.
        counts: rows with a token at each step, falling.

    Returns:
        Outputs (D, tokens, projection), packed, and the state after each row's last token.
    """
    dtype, device = product_dtype(c), x.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False):
        w = weights.to(dtype)
        x = x.to(dtype)
        directions, size = c.shape[0], c.shape[2]
        outputs = c.new_empty(directions, x.shape[1], h.shape[2])
        gates = c.new_empty(directions, c.shape[1], 4 * size)
        ahead, start, end = (
            x[:, :0],
            0,
            0,
        )  # the input's products are ahead of the loop, from a step to a step
        first = 0
        for step, rows in enumerate(counts):
            if start == end:
                first = start
                end = _block_end(counts, step, start, directions * 4 * size)
                ahead = torch.baddbmm(w.bias[:, None], x[:, start:end], w.input)
            part = ahead[:, start - first : start - first + rows]
            part.baddbmm_(h[:, :rows].to(dtype), w.hidden)
            now, now_c = gates[:, :rows].copy_(part), c[:, :rows]
            gated = _step(now, now_c, now_c, clips.cell).mul_(now[..., 2 * size : 3 * size])
            projected = torch.bmm(gated.to(dtype), w.projection)
            out = outputs[:, start : start + rows].copy_(projected)
            h[:, :rows] = out.clamp_(-clips.projection, clips.projection)
            start += rows
    return outputs, (h, c)


def _block_end(counts: list[int], step: int, start: int, elements: int) -> int:
    end = start
    for rows in counts[step:]:
        if end > start and (end + rows - start) * elements > BLOCK_ELEMENTS:
            break
        end += rows
    return end


def run_for_training(
    x: Tensor, h: Tensor, c: Tensor, weights: Matrices, counts: list[int], last: Tensor, clips: Clips
) -> tuple[Tensor, State]:
    """As `run_without_gradient`, with gradients for `x` and the weights.

    Args:
        last: (batch,), the place of each row's last token, -1 where it has none.
    """
    dtype, device = product_dtype(c), x.device.type
    with torch.autocast(device, enabled=False):
        outputs, cells = _ProjectedLstm.apply(x, *weights, h, c, counts, clips, dtype)
    some = (last >= 0)[:, None]
    if not len(cells[0]):
        return outputs, (h, c)
    at = last.clamp(min=0)
    return outputs, (torch.where(some, outputs.detach()[:, at], h), torch.where(some, cells[:, at], c))


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
        counts: list[int],
        clips: Clips,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        # What a token meets, its own vector and the recurrent state side by side, takes part in one product.
        weight = torch.cat([weight_input, weight_hidden], dim=1).to(dtype)
        projection, offset = weight_projection.to(dtype), bias.to(dtype)[:, None]
        directions, tokens, width = x.shape
        size = c.shape[2]
        read = x.new_empty(directions, tokens, weight.shape[1], dtype=dtype)
        read[..., :width] = x
        gated = read.new_empty(directions, tokens, size)  # what is projected
        outputs = c.new_empty(directions, tokens, h.shape[2])
        cells = c.new_empty(directions, tokens, size)
        gates = []
        start, before_h, before_c = 0, h, c
        for rows in counts:
            now = slice(start, start + rows)
            read[:, now, width:] = before_h[:, :rows]
            gate = torch.baddbmm(offset, read[:, now], weight).to(c.dtype)
            tanh_c = _step(gate, before_c[:, :rows], cells[:, now], clips.cell)
            torch.mul(tanh_c, gate[..., 2 * size : 3 * size], out=gated[:, now])
            outputs[:, now] = torch.bmm(gated[:, now], projection)
            before_h, before_c = outputs[:, now].clamp_(-clips.projection, clips.projection), cells[:, now]
            gates.append(gate)
            start += rows
        ctx.save_for_backward(weight, projection, c, read, gated, cells, outputs, *gates)
        ctx.counts, ctx.clips = counts, clips
        ctx.mark_non_differentiable(cells)
        return outputs, cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        weight, projection, c, read, gated, cells, outputs, *gates = ctx.saved_tensors
        counts, clips = ctx.counts, ctx.clips
        hidden, size = outputs.shape[2], c.shape[2]
        width = read.shape[2] - hidden
        aten = torch.ops.aten
        with torch.autocast(c.device.type, enabled=False):
            back, back_projection = weight.transpose(1, 2), projection.transpose(1, 2)
            grad_sums = read.new_empty(read.shape[0], read.shape[1], 4 * size)
            grad_projected = read.new_empty(outputs.shape)
            grad_read = torch.empty_like(read)
            grad_bias = c.new_zeros(c.shape[0], 4 * size)
            grad_h = outputs.new_zeros(c.shape[0], c.shape[1], hidden)
            grad_c, scratch, scratch_gates = (
                c.new_zeros(c.shape),
                torch.empty_like(c),
                c.new_empty(*c.shape[:2], 4 * size),
            )
            start = outputs.shape[1]
            for step in range(len(counts) - 1, -1, -1):
                rows = counts[step]
                start -= rows
                now = slice(start, start + rows)
                earlier = c if step == 0 else cells[:, start - counts[step - 1] : start]
                gate = gates[step]
                d_c, temp, d_gate = grad_c[:, :rows], scratch[:, :rows], scratch_gates[:, :rows]
                tanh_c = _tanh(cells[:, now])
                i, f, o, g = (gate[..., k * size : (k + 1) * size] for k in range(4))
                d_i, d_f, d_o, d_g = (d_gate[..., k * size : (k + 1) * size] for k in range(4))
                d_h = grad_h[:, :rows].add_(grad_outputs[:, now])
                d_p = grad_projected[:, now].copy_(
                    aten.hardtanh_backward(d_h, outputs[:, now], -clips.projection, clips.projection)
                )
                temp.copy_(torch.bmm(d_p, back_projection))
                torch.mul(temp, tanh_c, out=d_o)
                temp.mul_(o)
                d_c.add_(aten.tanh_backward.grad_input(temp, tanh_c, grad_input=temp))
                aten.hardtanh_backward.grad_input(d_c, cells[:, now], -clips.cell, clips.cell, grad_input=d_c)
                torch.mul(d_c, g, out=d_i)
                torch.mul(d_c, earlier[:, :rows], out=d_f)
                torch.mul(d_c, i, out=temp)
                three = slice(0, 3 * size)
                aten.sigmoid_backward.grad_input(
                    d_gate[..., three], gate[..., three], grad_input=d_gate[..., three]
                )
                aten.tanh_backward.grad_input(temp, g, grad_input=d_g)
                d_c.mul_(f)
                grad_bias += d_gate.sum(dim=1)
                d_sums = grad_sums[:, now].copy_(d_gate)
                torch.bmm(d_sums, back, out=grad_read[:, now])
                grad_h[:, :rows] = grad_read[:, now, width:]
            grad_weight = torch.bmm(read.transpose(1, 2), grad_sums)
            grad_projection = torch.bmm(gated.transpose(1, 2), grad_projected)
        return (
            grad_read[..., :width].to(c.dtype),
            grad_weight[:, :width].to(c.dtype),
            grad_weight[:, width:].to(c.dtype),
            grad_bias,
            grad_projection.to(c.dtype),
            *(None,) * 5,
        )
