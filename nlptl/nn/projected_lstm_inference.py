"""The time loop of the projected LSTM where no gradient is wanted: nothing is kept but the outputs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nlptl.nn.autocast import product_dtype
from nlptl.nn.packing import Packing
from nlptl.nn.products import Product, may_be_laid_out
from nlptl.nn.projected_lstm_kernel import Clips, LstmState, Matrices, step

# Laying weights out pays from so many tokens on. So many cells are computed at a time, so that their gates stay in the
# cache from the product to their last use. Where nothing is laid out, so many elements of the inputs' products are
# computed ahead.
MANY_TOKENS, CELLS, AHEAD = 1024, 1024, 2**22


class LaidOut:
    """A layer's weights as products by matrices that do not change.

    Attributes:
        gates: for each direction, cells after cells, what is read (input and state side by side) to their gates.
        projections: for each direction.
        cells: computed at a time. width: of the state. dtype: of the products.
    """

    def __init__(self, weights: Matrices, dtype: torch.dtype) -> None:
        size, width = weights.projection.shape[1:]
        self.dtype, self.width = dtype, width
        self.cells = CELLS if size % CELLS == 0 else size
        self.gates = [
            [
                Product(
                    torch.cat([_of_cells(matrix, cells) for matrix in read]).to(dtype).T.contiguous(),
                    _of_cells(bias, cells),
                )
                for cells in torch.arange(size).split(self.cells)
            ]
            for *read, bias in zip(weights.input, weights.hidden, weights.bias, strict=True)
        ]
        self.projections = [Product(matrix.T.to(dtype).contiguous()) for matrix in weights.projection]


def run_without_gradient(
    x: Tensor, state: LstmState, weights: Matrices | LaidOut, packing: Packing, clips: Clips
) -> tuple[Tensor, LstmState]:
    """Run the loop.

    Args:
        x: (D, batch, time, input).
        state: (D, batch, projection) and (D, batch, cell), in fp32 or wider, the rows in the order of the packing;
            overwritten.

    Returns:
        Outputs (D, batch, time, projection), and the state after each row's last token, in the packing's order.
    """
    h, c = state
    dtype = weights.dtype if isinstance(weights, LaidOut) else product_dtype(weights.input)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        tokens = packing.pack(x).to(dtype)
        outputs = c.new_empty(c.shape[0], tokens.shape[1], h.shape[2])
        if (
            isinstance(weights, Matrices)
            and tokens.shape[1] >= MANY_TOKENS
            and may_be_laid_out(x.device, dtype)
        ):
            weights = LaidOut(weights, dtype)
        if isinstance(weights, LaidOut):
            _run_laid_out(tokens, h, c, weights, packing.counts, clips, outputs)
        else:
            cast = Matrices(*(weight.to(dtype) for weight in weights))
            _run_ahead(tokens, h, c, cast, packing.counts, clips, outputs)
        return packing.unpack(outputs, *x.shape[1:3]), (h, c)


def _run_laid_out(
    tokens: Tensor, h: Tensor, c: Tensor, weights: LaidOut, counts: list[int], clips: Clips, outputs: Tensor
) -> None:
    """The steps, each of which is one product of inputs and states side by side for some cells at a time.

    Args:
        tokens: (D, tokens, input). h, c: the state, overwritten. counts: rows of each step.
        outputs: (D, tokens, projection), written.
    """
    directions, batch, size = c.shape
    width, cells = tokens.shape[2], weights.cells
    read = tokens.new_empty(batch, width + weights.width)
    gated = tokens.new_empty(batch, size)
    start = 0
    for rows in counts:
        now = slice(start, start + rows)
        met = read[:rows]
        for d in range(directions):
            met[:, :width], met[:, width:] = tokens[d, now], h[d, :rows]
            for first, product in zip(range(0, size, cells), weights.gates[d], strict=True):
                gates, some = product(met).to(c.dtype), c[d, :rows, first : first + cells]
                tanh_c = step(gates, some, some, clips.cell)
                torch.mul(tanh_c, gates[:, 2 * cells : 3 * cells], out=gated[:rows, first : first + cells])
            h[d, :rows] = _clipped(weights.projections[d](gated[:rows]), clips, outputs[d, now])
        start += rows


def _of_cells(matrix: Tensor, cells: Tensor) -> Tensor:
    """Of a matrix (..., 4 cell), gate by gate, the gates of some cells: (..., 4 cells)."""
    gates: Tensor = matrix.unflatten(-1, (4, -1))
    return gates.index_select(-1, cells).flatten(-2)


def _run_ahead(
    tokens: Tensor, h: Tensor, c: Tensor, w: Matrices, counts: list[int], clips: Clips, outputs: Tensor
) -> None:
    """The steps, the products of the inputs computed ahead of them.

    Args:
        tokens: (D, tokens, input). h, c: the state, overwritten. counts: rows of each step.
        outputs: (D, tokens, projection), written.
    """
    directions, _, size = c.shape
    for first, steps in _blocks(counts, AHEAD // (directions * 4 * size)):
        sums = torch.baddbmm(w.bias[:, None], tokens[:, first : first + sum(steps)], w.input)
        start = 0
        for rows in steps:
            part, now = sums[:, start : start + rows], slice(first + start, first + start + rows)
            gates = part.baddbmm_(h[:, :rows].to(part.dtype), w.hidden).to(c.dtype)
            tanh_c = step(gates, c[:, :rows], c[:, :rows], clips.cell)
            gated = tanh_c.mul_(gates[..., 2 * size : 3 * size]).to(part.dtype)
            h[:, :rows] = _clipped(torch.bmm(gated, w.projection), clips, outputs[:, now])
            start += rows


def _clipped(projected: Tensor, clips: Clips, out: Tensor) -> Tensor:
    """Write the clipped projection to `out`, (..., rows, projection), and return it."""
    return out.copy_(projected).clamp_(-clips.projection, clips.projection)


def _blocks(counts: list[int], tokens: int) -> Iterator[tuple[int, list[int]]]:
    """The steps in runs of at most so many tokens, but at least one step; with the tokens before each run."""
    first, steps = 0, list[int]()
    for rows in counts:
        if steps and sum(steps) + rows > tokens:
            yield first, steps
            first, steps = first + sum(steps), []
        steps.append(rows)
    if steps:
        yield first, steps
