"""LSTM with a projection, both clipped, its directions side by side (Sak et al. 2014; Peters et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init

from nlptl.nn.projected_lstm_kernel import Clips, Matrices, run_for_training, run_without_gradient

LstmState = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Packing:
    """Which tokens there are, in the order in which they are run: step by step, the longest rows first.

    Attributes:
        rows: (batch,), the rows from the longest to the shortest.
        index: (tokens,), where each token stands in a flattened (batch * time).
        counts: for each step the number of rows that still have a token; none is zero.
        last: (batch,), for each of `rows` the place of its last token in `index`; -1 for a row without any.
    """

    rows: Tensor
    index: Tensor
    counts: list[int]
    last: Tensor

    @classmethod
    def of(cls, lengths: Tensor, time: int) -> Packing:
        """Packing of right-padded rows of `lengths` (batch,), each at most `time`."""
        ordered, rows = lengths.sort(descending=True, stable=True)
        steps = torch.arange(time, device=lengths.device)[:, None]
        valid = steps < ordered
        index = (rows * time + steps)[valid]
        counts = valid.sum(dim=1)
        starts = counts.cumsum(0) - counts
        places = torch.arange(len(rows), device=lengths.device)
        last = torch.where(ordered > 0, starts[(ordered - 1).clamp(min=0)] + places, -1)
        return cls(rows, index, [count for count in counts.tolist() if count], last)


class ProjectedLstm(nn.Module):
    """One layer: `directions` LSTMs of the same sizes, each over its own sequence.

    The gates stand in the order input, forget, output, candidate, so that one call of the sigmoid meets three
    neighbours. There is no bias on the projection, and no constant is added to the forget gate: its bias starts at 1.

    Args:
        cell_clip: bound of the cell's state, before it meets the output gate.
        projection_clip: bound of the projected output, which is also the recurrent state.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        projection_size: int,
        cell_clip: float,
        projection_clip: float,
        directions: int = 2,
    ) -> None:
        super().__init__()
        self.cell_size, self.projection_size, self.directions = cell_size, projection_size, directions
        self.clips = Clips(float(cell_clip), float(projection_clip))
        self.weight_input = nn.Parameter(torch.empty(directions, input_size, 4 * cell_size))
        self.weight_hidden = nn.Parameter(torch.empty(directions, projection_size, 4 * cell_size))
        self.bias = nn.Parameter(torch.empty(directions, 4 * cell_size))
        self.weight_projection = nn.Parameter(torch.empty(directions, cell_size, projection_size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform, with the variance that keeps each product's (Glorot & Bengio 2010); forget gates start open."""
        for weight in (self.weight_input, self.weight_hidden, self.weight_projection):
            fan_in, fan_out = (
                weight.shape[1],
                weight.shape[2] // (1 if weight is self.weight_projection else 4),
            )
            bound = (6.0 / (fan_in + fan_out)) ** 0.5
            init.uniform_(weight, -bound, bound)
        bias = torch.zeros_like(self.bias)
        bias[:, self.cell_size : 2 * self.cell_size] = 1.0
        init.copy_(self.bias, bias)

    def forward(
        self, x: Tensor, state: LstmState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, LstmState]:
        """Run the layer. Matrix products are in the autocast type where autocast is on; the states never are.

        Args:
            x: (directions, batch, time, input size), each row in the order in which it is read, padded on the right.
            state: (h, c) of the piece read before, (directions, batch, projection size) and (directions, batch, cell
                size), or None for zeros. No gradient flows into it.
            lengths: (batch,), the numbers of tokens; every position is one where it is None.

        Returns:
            The outputs, (directions, batch, time, projection size), zero beyond a row's length, and each row's state
            after its last token. A row without any token keeps its state.
        """
        directions, batch, time, width = x.shape
        if lengths is None:
            lengths = torch.full((batch,), time, device=x.device)
        packing = Packing.of(lengths, time)
        h, c = self.zero_state(batch) if state is None else state
        h, c = h.detach()[:, packing.rows], c.detach()[:, packing.rows]
        tokens = x.reshape(directions, batch * time, width)[:, packing.index]
        weights = Matrices(self.weight_input, self.weight_hidden, self.bias, self.weight_projection)
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters())):
            packed, after = run_for_training(tokens, h, c, weights, packing.counts, packing.last, self.clips)
        else:
            packed, after = run_without_gradient(tokens, h, c, weights, packing.counts, self.clips)
        outputs = packed.new_zeros(directions, batch * time, self.projection_size)
        outputs = outputs.index_copy(1, packing.index, packed)
        places = packing.rows.argsort()
        outputs = outputs.view(directions, batch, time, self.projection_size)
        return outputs, (after[0][:, places], after[1][:, places])

    def zero_state(self, batch: int) -> LstmState:
        """The state before anything was read."""
        like = self.weight_projection
        return (
            like.new_zeros(self.directions, batch, self.projection_size),
            like.new_zeros(self.directions, batch, self.cell_size),
        )
