"""LSTM with a projection, both clipped, its directions side by side (Sak et al. 2014; Peters et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init

from nlptl.nn.packing import Packing
from nlptl.nn.products import may_be_laid_out
from nlptl.nn.projected_lstm_inference import LaidOut, run_without_gradient
from nlptl.nn.projected_lstm_kernel import Clips, LstmState, Matrices, run_for_training

__all__ = ["LstmState", "ProjectedLstm"]


class ProjectedLstm(nn.Module):
    """One layer: `directions` LSTMs of the same sizes, each over its own sequence.

    The gates stand in the order input, forget, output, candidate, so that one call of the sigmoid meets three
    neighbours. There is no bias on the projection, and no constant is added to the forget gate: its bias starts at 1.

    Args:
        cell_clip: bound of the cell's state, before it meets the output gate.
        projection_clip: bound of the projected output, which is also the recurrent state.
    """

    product_weights: tuple[str, ...] = ("weight_input", "weight_hidden", "weight_projection")

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
        self.laid_out: LaidOut | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform, with the variance that keeps each product's (Glorot & Bengio 2010); forget gates start open."""
        for weight, outputs in (
            (self.weight_input, self.cell_size),
            (self.weight_hidden, self.cell_size),
            (self.weight_projection, self.projection_size),
        ):
            bound = (6.0 / (weight.shape[1] + outputs)) ** 0.5
            init.uniform_(weight, -bound, bound)
        bias = torch.zeros_like(self.bias)
        bias[:, self.cell_size : 2 * self.cell_size] = 1.0
        init.copy_(self.bias, bias)

    def forward(
        self, x: Tensor, state: LstmState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, LstmState]:
        """Run the layer. Matrix products are in the autocast type where autocast is on; the state is never in half.

        Args:
            x: (directions, batch, time, input size), each row in the order in which it is read, padded on the right.
            state: (h, c) of the piece read before, (directions, batch, projection size) and (directions, batch, cell
                size), or None for zeros. No gradient flows into it, nor out of the state that is returned.
            lengths: (batch,), the numbers of tokens; every position is one where it is None.

        Returns:
            The outputs, (directions, batch, time, projection size), zero beyond a row's length, and each row's state
            after its last token. A row without any token keeps its state.
        """
        batch, time = x.shape[1:3]
        if lengths is None:
            lengths = torch.full((batch,), time, device=x.device)
        packing = Packing.of(lengths, time)
        h, c = self.zero_state(batch) if state is None else state
        wide = torch.promote_types(self.bias.dtype, torch.float32)
        before = h.detach()[:, packing.rows].to(wide), c.detach()[:, packing.rows].to(wide)
        if self.laid_out is not None:
            outputs, (h, c) = run_without_gradient(x, before, self.laid_out, packing, self.clips)
        else:
            weights = self._weights()
            wanted = x.requires_grad or any(weight.requires_grad for weight in weights)
            run = run_for_training if wanted and torch.is_grad_enabled() else run_without_gradient
            outputs, (h, c) = run(x, before, weights, packing, self.clips)
        places = packing.rows.argsort()
        return outputs.to(self.bias.dtype), (h[:, places], c[:, places])

    def _weights(self) -> Matrices:
        return Matrices(self.weight_input, self.weight_hidden, self.bias, self.weight_projection)

    @torch.no_grad()
    def settle(self, dtype: torch.dtype | None) -> None:
        """Only compute from now on: where oneDNN multiplies in `dtype`, weights are laid out for it and let go.

        Args:
            dtype: None for that of the weights.
        """
        dtype = dtype or self.bias.dtype
        if self.laid_out is None and may_be_laid_out(self.bias.device, dtype):
            self.laid_out = LaidOut(self._weights(), dtype)
            for name in self.product_weights:
                delattr(self, name)
            self.product_weights = ()

    def zero_state(self, batch: int) -> LstmState:
        """The state before anything was read."""
        like = self.bias
        return (
            like.new_zeros(self.directions, batch, self.projection_size),
            like.new_zeros(self.directions, batch, self.cell_size),
        )
