"""The parts that "Attention Is All You Need" names (Vaswani et al. 2017, figure 1 and section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.nn.attention import attend
from nlptl.nn.dropout import dropout
from nlptl.nn.positions import sinusoidal_positions


class Places(nn.Module):
    """Adds to token vectors, scaled by the root of their width (section 3.4), where they stand (section 3.5)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.width, self.dropout = config.width, config.dropout
        if config.positions == "learned":
            self.embedding = nn.Embedding(config.max_positions, config.width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        time = vectors.shape[1]
        learned = hasattr(self, "embedding")
        places = self.embedding.weight[:time] if learned else sinusoidal_positions(time, self.width)
        x = vectors * math.sqrt(self.width) + places.to(vectors)
        return dropout(x, self.dropout, self.training)


class MultiHeadAttention(nn.Module):
    """Section 3.2.2. The three projections lie in one matrix, as `torch.nn.MultiheadAttention` has them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.num_heads, config.attention_dropout
        self.projections = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Read `memory`, or `x` itself.

        Args:
            x: (batch, time, width), where the queries come from.
            memory: (batch, time of the memory, width), where keys and values come from.
            mask: (batch, time of what is read), True for what may be read.
            causal: a place reads none after it.
        """
        if memory is None:
            queries, keys, values = self.projections(x).chunk(3, dim=2)
        else:
            weight, bias = self.projections.weight, self.projections.bias
            width = x.shape[2]
            queries = F.linear(x, weight[:width], bias[:width])
            keys, values = F.linear(memory, weight[width:], bias[width:]).chunk(2, dim=2)
        dropout = self.dropout if self.training else 0.0
        read: Tensor = self.output(
            attend(queries, keys, values, self.heads, causal=causal, key_mask=mask, dropout=dropout)
        )
        return read


class SelfAttention(MultiHeadAttention):
    """One that only ever reads what it is given, so that its projections are made together."""

    settled_linears: ClassVar = {"projections": None, "output": None}


class FeedForward(nn.Module):
    """The position-wise network, section 3.3."""

    settled_linears: ClassVar = {"inner": "activation", "outer": None}

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation = nn.ReLU() if config.activation == "relu" else nn.GELU()
        self.inner = nn.Linear(config.width, config.feed_forward_width)
        self.outer = nn.Linear(config.feed_forward_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        x = self.outer(self.activation(self.inner(x)))
        return x


class Residual(nn.Module):
    """A layer's output, dropped out, is added to its input, with the normalisation after (section 3.1) or before."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre, self.dropout = config.norm == "pre", config.dropout
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)

    def forward(self, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        """(batch, time, width) -> the same."""
        y = layer(self.norm(x) if self.pre else x)
        x = x + dropout(y, self.dropout, self.training)
        return x if self.pre else self.norm(x)


class EncoderBlock(nn.Module):
    """Self-attention and feed-forward network."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config)
        self.feed_forward = FeedForward(config)
        self.residuals = nn.ModuleList(Residual(config) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, time, width) -> the same; `mask` (batch, time) is True for tokens."""
        to_itself, to_network = self.residuals
        x = to_itself(x, lambda y: self.self_attention(y, mask=mask))
        x = to_network(x, self.feed_forward)
        return x


class DecoderBlock(nn.Module):
    """Masked self-attention, attention to the encoder's output, and feed-forward network."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config)
        self.encoder_attention = MultiHeadAttention(config)
        self.feed_forward = FeedForward(config)
        self.residuals = nn.ModuleList(Residual(config) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        """What has been written so far (batch, time, width) -> the same; no place reads one after it.

        Padding on the right of `x` needs no mask: no token comes after it.

        Args:
            memory, memory_mask: the encoder's output, and which of its places hold tokens.
        """
        to_itself, to_encoder, to_network = self.residuals
        x = to_itself(x, lambda y: self.self_attention(y, causal=True))
        x = to_encoder(x, lambda y: self.encoder_attention(y, memory, mask=memory_mask))
        x = to_network(x, self.feed_forward)
        return x


class TransformerDecoder(nn.Module):
    """A stack of decoder blocks, closed by a normalisation as in `torch.nn.Transformer`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.places = Places(config)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_decoder_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)

    def forward(self, vectors: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        """Token vectors of what has been written (batch, time, width) -> what the softmax reads, of the same shape."""
        x = self.places(vectors)
        for layer in self.layers:
            x = layer(x, memory, memory_mask)
        normalised: Tensor = self.norm(x)
        return normalised
