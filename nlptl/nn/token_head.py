"""A head on the vectors of tokens: layers mixed, read by a BiLSTM, pooled by attention; ELMo's task models' shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nlptl.nn.dropout import Dropout
from nlptl.nn.lstm import Lstm
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import reverse_valid

MIX_PENALTY = 0.001  # Peters et al. 2018, section 3.3


def token_layers(hidden_states: Sequence[Tensor]) -> Tensor:
    """The layers that are as wide as the last, stacked: a mix adds only what is of one width.

    Args:
        hidden_states: bottom to top, (batch, time, width of the layer) each.

    Returns:
        (batch, time, layers, width of the last).
    """
    width = hidden_states[-1].shape[-1]
    return torch.stack([states for states in hidden_states if states.shape[-1] == width], dim=2)


class AttentionPooling(nn.Module):
    """The mean of the tokens' vectors, weighted by a learned query (Yang et al. 2016, section 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, width), (batch, time) -> (batch, width); zeros for a text without any token."""
        scores = self.query(torch.tanh(self.projection(x))).squeeze(2).float()
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1) * mask
        pooled: Tensor = (weights[:, None] @ x.float()).squeeze(1)
        return pooled


class TokenHead(nn.Module):
    """Scalar mix, dropout, a BiLSTM, attention pooling, dropout, a linear layer (after Peters et al. 2018, 3.3).

    A text's scores depend on its own tokens alone, whatever its padding and its company. A model that has such a head
    calls `reset_parameters` of the `ScalarMix` from its `_init_weights`.

    Args:
        layers, width: of the token vectors.
        hidden_size: units of the BiLSTM in each direction.
        dropouts: on the mixed vectors of the tokens, and on the pooled vector.
        classes: number of outputs.
    """

    def __init__(
        self, layers: int, width: int, hidden_size: int, dropouts: Sequence[float], classes: int
    ) -> None:
        super().__init__()
        if len(dropouts) != 2:
            raise ValueError(f"a token head has two dropouts, not {len(dropouts)}")
        self.layers, self.width = layers, width
        self.mix = ScalarMix(layers, "none")
        self.token_dropout = Dropout(dropouts[0])
        self.forward_lstm = Lstm(width, hidden_size, batch_first=True)
        self.backward_lstm = Lstm(width, hidden_size, batch_first=True)
        self.pooling = AttentionPooling(2 * hidden_size)
        self.text_dropout = Dropout(dropouts[1])
        self.linear = nn.Linear(2 * hidden_size, classes)

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token vectors -> scores (batch, classes).

        Args:
            vectors: (batch, time, layers, width).
            mask: (batch, time), True for the tokens, which come before the padding; all are tokens where it is None.
        """
        if mask is None:
            mask = vectors.new_ones(vectors.shape[:2], dtype=torch.bool)
        x = self.token_dropout(self.mix(list(vectors.float().unbind(dim=2)), mask))
        # A direction each, from the first token and from the last: padding comes after both, and without packing an
        # LSTM takes a quarter of the time on a CPU.
        lengths = mask.sum(dim=1)
        ahead, _ = self.forward_lstm(x)
        back, _ = self.backward_lstm(reverse_valid(x, lengths))
        states = torch.cat([ahead, reverse_valid(back, lengths)], dim=2)
        scores: Tensor = self.linear(self.text_dropout(self.pooling(states, mask)))
        return scores

    def penalty(self) -> Tensor:
        """What training adds to the loss, so that the mix stays near the mean of the layers."""
        return MIX_PENALTY * self.mix.penalty()
