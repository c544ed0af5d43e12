"""The transformer decoder of GPT (Radford et al. 2018): encoder of text and language model.

Names of modules and tensors are those of `transformers`' OpenAI GPT, so that checkpoints go both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D
from transformers.utils import ModelOutput

from nlptl.families.gpt.configuration import GptConfig
from nlptl.nn.attention import attend
from nlptl.nn.context_windows import ContextWindows
from nlptl.nn.sequences import valid_lengths
from nlptl.nn.softmax import IGNORED, Candidates, linear_cross_entropy, sampled_cross_entropy
from nlptl.training.models import LayeredModel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # by name "gelu", OpenAI's code computed this approximation; torch has one kernel for it
    "gelu": partial(F.gelu, approximate="tanh"),
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass
class GptOutput(ModelOutput):
    """What the encoder returns.

    Attributes:
        last_hidden_state: (batch, time, width).
        hidden_states: embedding output, then one a block, each (batch, time, width).
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class GptLanguageModelOutput(ModelOutput):
    """What the language model returns.

    Attributes:
        loss: mean cross entropy in nats a token.
        logits: (batch, time, vocabulary); absent where `targets` were given, so that they are never held at once.
        hidden_states: as in `GptOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class GptAttention(nn.Module):
    """Masked self-attention: queries, keys and values by one product, and the projection of what was read."""

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

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.afn]
        self.c_fc = Conv1D(4 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, 4 * config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) -> the same."""
        x = self.c_proj(self.activation(self.c_fc(x)))
        return x


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
        x = self.ln_1(x + F.dropout(self.attn(x), self.dropout, self.training))
        x = self.ln_2(x + F.dropout(self.mlp(x), self.dropout, self.training))
        return x


class GptPreTrainedModel(LayeredModel):
    """What all GPT models share: names, initialisation."""

    config: GptConfig
    config_class = GptConfig
    base_model_prefix = "transformer"
    # Arguments beyond the inputs are not taken, so that the Trainer itself averages over accumulated batches.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal of standard deviation 0.02, biases zero (section 4.1); other heads as torch does."""
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D, nn.LayerNorm)):
            super()._init_weights(module)
        elif isinstance(module, (nn.LSTM, nn.BatchNorm1d)):
            module.reset_parameters()


class GptModel(GptPreTrainedModel):
    """The encoder: embeddings of tokens and places, and a stack of blocks in which a token reads those before it."""

    # Loaded from a language model or a classifier it takes its part and has no use for the rest; old native files
    # have the causal masks as buffers.
    _keys_to_ignore_on_load_unexpected = [
        r"^lm_head\.",
        r"^head\.",
        r"^score\.",
        r"^multiple_choice_head\.",
        r"\.attn\.bias$",
    ]

    def __init__(self, config: GptConfig) -> None:
        super().__init__(config)
        self.tokens_embed = nn.Embedding(config.pretrained_tokens(), config.n_embd)
        self.positions_embed = nn.Embedding(config.n_positions, config.n_embd)
        if config.new_tokens:
            self.new_embeddings = nn.Embedding(config.new_tokens, config.n_embd)
        self.h = nn.ModuleList(GptBlock(config) for _ in range(config.n_layer))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token vectors."""
        return self.tokens_embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of token vectors."""
        assert isinstance(value, nn.Embedding)
        self.tokens_embed = value

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: the embeddings, then each block."""
        blocks = [list(block.parameters()) for block in self.h]
        in_blocks = {id(p) for block in blocks for p in block}
        return [[p for p in self.parameters() if id(p) not in in_blocks], *blocks]

    def embed(self, input_ids: Tensor) -> Tensor:
        """Token vectors (batch, time, width); the last ids of the vocabulary are those of the new tokens."""
        known = self.config.pretrained_tokens()
        if not self.config.new_tokens:
            vectors: Tensor = self.tokens_embed(input_ids)
            return vectors
        new = input_ids >= known
        vectors = self.tokens_embed(input_ids.masked_fill(new, 0))
        added = self.new_embeddings((input_ids - known).clamp(min=0))
        return torch.where(new[:, :, None], added, vectors)

    def token_rows(self) -> Tensor:
        """Vectors of all tokens, the new ones last: what a tied softmax predicts with, (tokens, width)."""
        rows = self.tokens_embed.weight
        return torch.cat([rows, self.new_embeddings.weight]) if self.config.new_tokens else rows

    def read(self, embedded: Tensor, layers: int | None = None) -> list[Tensor]:
        """Run the stack over one context.

        Args:
            embedded: token vectors (batch, time, width), at most `n_positions` of them, padded on the right. What a
                padded place holds is of no account, because no token reads a place after its own.
            layers: blocks to run; None for all.

        Returns:
            The embedding's output and that of each block.
        """
        config, time = self.config, embedded.shape[1]
        x = embedded + self.positions_embed.weight[:time]
        x = F.dropout(x, config.embd_pdrop, self.training)
        states = [x]
        recompute = self.training and torch.is_grad_enabled() and x.shape[0] * time > config.max_kept_tokens
        for block in self.h[:layers]:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            states.append(x)
        return states

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> GptOutput | tuple[Any, ...]:
        """Encode texts of any length; each token has read those before it.

        One longer than `n_positions` tokens is read in windows that overlap by half (`ContextWindows`).

        Args:
            input_ids: (batch, time), padded on the right.
            attention_mask: (batch, time), 1 for tokens; all are tokens where it is None.
        """
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        time = input_ids.shape[1]
        lengths = input_ids.new_full((input_ids.shape[0],), time)
        if attention_mask is not None:
            lengths = valid_lengths(attention_mask)
        if time <= self.config.n_positions:
            states = self.read(self.embed(input_ids))
        else:
            windows = ContextWindows.of(lengths, self.config.n_positions, causal=True)
            pieces = self.read(self.embed(windows.cut(input_ids)))
            states = [windows.joined(x, time) for x in (pieces if wanted else pieces[-1:])]
        output = GptOutput(last_hidden_state=states[-1], hidden_states=tuple(states) if wanted else None)
        return output if return_dict is not False else output.to_tuple()


class GptForCausalLM(GptPreTrainedModel):
    """The language model: the encoder and a softmax tied to its embedding, without a bias."""

    _tied_weights_keys = {"lm_head.weight": "transformer.tokens_embed.weight"}
    _keys_to_ignore_on_load_unexpected = [r"^multiple_choice_head\.", r"\.attn\.bias$"]

    def __init__(self, config: GptConfig) -> None:
        super().__init__(config)
        self.transformer = GptModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The softmax layer."""
        head: nn.Linear = self.lm_head
        return head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the softmax layer."""
        self.lm_head = value

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Blocks bottom to top, then the embeddings, one of which is the softmax."""
        embeddings, *blocks = self.transformer.layer_groups()
        softmax = [p for p in self.lm_head.parameters() if all(p is not q for q in embeddings)]
        return [*blocks, [*embeddings, *softmax]]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        candidates: Candidates | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> GptLanguageModelOutput | tuple[Any, ...]:
        """Predict each token from those before it.

        Args:
            input_ids, attention_mask: as for the encoder.
            labels: (batch, time), the ids themselves as `transformers` expects them; shifted in here.
            targets: (batch, time), the token to predict at each position; -100 is left out. For windows of a stream,
                where the last target lies beyond the window.
            candidates: train against these instead of the full softmax.
        """
        output = self.transformer(input_ids, attention_mask, output_hidden_states=output_hidden_states)
        hidden = output.last_hidden_state
        logits = None if targets is not None else self.lm_head(hidden)
        if labels is not None:
            targets = next_tokens(labels, attention_mask)
        loss = None
        if targets is not None:
            rows, wanted, weight = hidden.flatten(0, 1), targets.flatten(), self.lm_head.weight
            if candidates is None:
                loss = linear_cross_entropy(rows, weight, None, wanted)
            else:
                loss = sampled_cross_entropy(rows, weight, None, wanted, candidates)
        result = GptLanguageModelOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)
        return result if return_dict is not False else result.to_tuple()


def next_tokens(labels: Tensor, attention_mask: Tensor | None) -> Tensor:
    """What each position is to predict, (batch, time): the token after it, nothing at a text's last token.

    Args:
        labels: (batch, time), token ids; -100 is left out.
        attention_mask: (batch, time), 1 for tokens.
    """
    if attention_mask is not None:
        labels = labels.masked_fill(attention_mask == 0, IGNORED)
    return torch.cat([labels[:, 1:], labels.new_full((labels.shape[0], 1), IGNORED)], dim=1)
