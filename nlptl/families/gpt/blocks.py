"""The block of GPT's decoder (Radford et al. 2018, section 3.1), its modules named as in `transformers`' OpenAI GPT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from nlptl.families.gpt.configuration import GptConfig
from nlptl.nn.attention import attend
from nlptl.nn.dropout import dropout

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    # by name "gelu", OpenAI's code computed this approximation; torch has one kernel for it
    "gelu": partial(nn.GELU, approximate="tanh"),
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class GptAttention(nn.Module):
    """Masked self-attention: queries, keys and values by one product, and the projection of what was read."""

    settled_linears: ClassVar = {"c_attn": None, "c_proj": None}

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.n_head, config.attn_pdrop
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) -> the same; no position reads one after it."""
        queries, keys, values = self.c_attn(x).chunk(3, dim=2)
        dropout = self.dropout if self.training else 0.0
        read: Tensor = self.c_proj(attend(queries, keys, values, self.heads, causal=True, dropout=dropout))
        return read


class GptFeedForward(nn.Module):
    """The position-wise network, four times as wide inside."""

    settled_linears: ClassVar = {"c_fc": "activation", "c_proj": None}

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.afn]()
        self.c_fc = Conv1D(4 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, 4 * config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        x = self.c_fc(x)
        if not self.training:
            return self._project(x)
        # The activation, a fifth of all that a block keeps, is computed once more on the way back.
        projected: Tensor = checkpoint(self._project, x, use_reentrant=False, preserve_rng_state=False)
        return projected

    def _project(self, x: Tensor) -> Tensor:
        projected: Tensor = self.c_proj(self.activation(x))
        return projected


class GptBlock(nn.Module):
    """Attention and feed-forward network, each added to its input and then normalised (post-norm)."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.dropout = config.resid_pdrop
        self.attn = GptAttention(config)
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GptFeedForward(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        x = self.ln_1(x + dropout(self.attn(x), self.dropout, self.training))
        x = self.ln_2(x + dropout(self.mlp(x), self.dropout, self.training))
        return x
