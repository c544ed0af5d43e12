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

BLOCK_ELEMENTS = 2**26  # of gates computed ahead where nothing is kept: 256 MiB in fp32

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


def _tanh_(x: Tensor) -> Tensor:
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _step(gates: Tensor, before: Tensor, c: Tensor, tanh_c: Tensor, cell_clip: float) -> None:
    """One step's element-wise part. Sums of products become gates in place; `c` and `tanh_c` are written.

    Args:
        gates: (D, rows, 4 cell), in: before the non-linearities, out: after them.
        before: (D, rows, cell), the cells one step ago; may be `c` itself.
    """
    size = c.shape[2]
    candidate = gates[..., 3 * size :]
    candidate.mul_(2)
    gates.sigmoid_()
    candidate.mul_(2).sub_(1)
    torch.mul(before, gates[..., size : 2 * size], out=c)
    c.addcmul_(gates[..., :size], candidate).clamp_(-cell_clip, cell_clip)
    _tanh_(tanh_c.copy_(c))


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
        gates, tanh_c = c.new_empty(directions, c.shape[1], 4 * size), torch.empty_like(c)
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
            now, now_c, now_tanh = gates[:, :rows].copy_(part), c[:, :rows], tanh_c[:, :rows]
            _step(now, now_c, now_c, now_tanh, clips.cell)
            now_tanh.mul_(now[..., 2 * size : 3 * size])
            projected = torch.bmm(now_tanh.to(dtype), w.projection)
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
        w = Matrices(weight_input, weight_hidden, bias, weight_projection).to(dtype)
        directions, tokens, size = c.shape[0], x.shape[1], c.shape[2]
        x = x.to(dtype)
        sums = torch.baddbmm(w.bias[:, None], x, w.input)
        # In one type the gates overwrite the sums that they are made from.
        gates = sums if dtype == c.dtype else c.new_empty(sums.shape)
        cells, tanh_cells = (c.new_empty(directions, tokens, size) for _ in range(2))
        read = x.new_empty(directions, tokens, h.shape[2])  # the recurrent state that each token meets
        gated = x.new_empty(directions, tokens, size)  # what is projected
        outputs = c.new_empty(directions, tokens, h.shape[2])
        start, before_h, before_c = 0, h, c
        for rows in counts:
            now = slice(start, start + rows)
            part, gate, tanh_c = sums[:, now], gates[:, now], tanh_cells[:, now]
            part.baddbmm_(read[:, now].copy_(before_h[:, :rows]), w.hidden)
            if gates is not sums:
                gate.copy_(part)
            _step(gate, before_c[:, :rows], cells[:, now], tanh_c, clips.cell)
            torch.mul(tanh_c, gate[..., 2 * size : 3 * size], out=gated[:, now])
            outputs[:, now] = torch.bmm(gated[:, now], w.projection)
            before_h, before_c = outputs[:, now].clamp_(-clips.projection, clips.projection), cells[:, now]
            start += rows
        ctx.save_for_backward(x, *w[:2], w.projection, c, gates, cells, tanh_cells, read, gated, outputs)
        ctx.counts, ctx.clips = counts, clips
        ctx.mark_non_differentiable(cells)
        return outputs, cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, w_input, w_hidden, w_projection, c, gates, cells, tanh_cells, read, gated, outputs = (
            ctx.saved_tensors
        )
        counts, clips = ctx.counts, ctx.clips
        with torch.autocast(x.device.type, enabled=False):
            grad_sums, grad_projected = _loop_backward(
                grad_outputs, w_hidden, w_projection, c, gates, cells, tanh_cells, outputs, counts, clips
            )
            transposed = grad_sums.transpose(1, 2)
            wanted = ctx.needs_input_grad
            grad_x = torch.bmm(grad_sums, w_input.transpose(1, 2)) if wanted[0] else None
            grad_input = torch.bmm(transposed, x).transpose(1, 2) if wanted[1] else None
            grad_hidden = torch.bmm(transposed, read).transpose(1, 2) if wanted[2] else None
            grad_bias = grad_sums.sum(dim=1, dtype=c.dtype) if wanted[3] else None
            grad_projection = torch.bmm(gated.transpose(1, 2), grad_projected) if wanted[4] else None
        return grad_x, grad_input, grad_hidden, grad_bias, grad_projection, *(None,) * 5


def _loop_backward(
    grad_outputs: Tensor,
    w_hidden: Tensor,
    w_projection: Tensor,
    c: Tensor,
    gates: Tensor,
    cells: Tensor,
    tanh_cells: Tensor,
    outputs: Tensor,
    counts: list[int],
    clips: Clips,
) -> tuple[Tensor, Tensor]:
    """Gradients of the sums that make the gates, (D, tokens, 4 cell), and of the projections before their clip."""
    aten = torch.ops.aten
    size = c.shape[2]
    grad_sums = w_hidden.new_empty(gates.shape)
    grad_projected = w_hidden.new_empty(outputs.shape)
    back_hidden, back_projection = w_hidden.transpose(1, 2), w_projection.transpose(1, 2)
    grad_h = outputs.new_zeros(outputs.shape[0], counts[0] if counts else 0, outputs.shape[2])
    grad_c, scratch = c.new_zeros(c.shape), torch.empty_like(c)
    wide = c.new_empty(*c.shape[:2], 4 * size)
    start = gates.shape[1]
    for step in range(len(counts) - 1, -1, -1):
        rows = counts[step]
        start -= rows
        now = slice(start, start + rows)
        earlier = c if step == 0 else cells[:, start - counts[step - 1] : start]
        gate, tanh_c, d_c, temp, d_gate = (
            gates[:, now],
            tanh_cells[:, now],
            grad_c[:, :rows],
            scratch[:, :rows],
            wide[:, :rows],
        )
        i, f, o, g = (gate[..., k * size : (k + 1) * size] for k in range(4))
        d_h = grad_h[:, :rows].add_(grad_outputs[:, now])
        d_p = aten.hardtanh_backward(d_h, outputs[:, now], -clips.projection, clips.projection)
        d_gated = temp.copy_(torch.bmm(grad_projected[:, now].copy_(d_p), back_projection))
        torch.mul(d_gated, tanh_c, out=d_gate[..., 2 * size : 3 * size])
        temp.mul_(o)
        d_c.add_(aten.tanh_backward.grad_input(temp, tanh_c, grad_input=temp))
        aten.hardtanh_backward.grad_input(d_c, cells[:, now], -clips.cell, clips.cell, grad_input=d_c)
        torch.mul(d_c, g, out=d_gate[..., :size])
        torch.mul(d_c, earlier[:, :rows], out=d_gate[..., size : 2 * size])
        torch.mul(d_c, i, out=temp)
        three = slice(0, 3 * size)
        aten.sigmoid_backward.grad_input(d_gate[..., three], gate[..., three], grad_input=d_gate[..., three])
        aten.tanh_backward.grad_input(temp, g, grad_input=d_gate[..., 3 * size :])
        d_c.mul_(f)
        sums = grad_sums[:, now].copy_(d_gate)
        grad_h[:, :rows] = torch.bmm(sums, back_hidden)
    return grad_sums, grad_projected
