"""The transformer decoder of GPT (Radford et al. 2018): encoder of text and language model.

Names of modules and tensors are those of `transformers`' OpenAI GPT, so that checkpoints go both ways.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.pytorch_utils import Conv1D

from nlptl.families.gpt.blocks import GptBlock
from nlptl.families.gpt.configuration import GptConfig
from nlptl.nn.context_windows import ContextWindows
from nlptl.nn.dropout import dropout
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import row_lengths
from nlptl.nn.softmax import IGNORED, Candidates, linear_cross_entropy, sampled_cross_entropy
from nlptl.training.models import LayeredModel


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
        elif isinstance(module, (nn.LSTM, nn.BatchNorm1d, ScalarMix)):
            module.reset_parameters()


class GptModel(GptPreTrainedModel):
    """The encoder: embeddings of tokens and places, and a stack of blocks in which a token reads those before it."""

    _input_embed_layer = "tokens_embed"
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

    def read(self, input_ids: Tensor, layers: int | None = None, *, every: bool = True) -> list[Tensor]:
        """Run the stack over one context.

        Args:
            input_ids: (batch, time), at most `n_positions` of them, padded on the right. What a padded place holds is
                of no account, because no token reads a place after its own.
            layers: blocks to run; None for all.
            every: False where the last output is all that is wanted, so that no other is held.

        Returns:
            The embedding's output and that of each block.
        """
        config, time = self.config, input_ids.shape[1]
        x = self.embed(input_ids) + self.positions_embed.weight[:time]
        x = dropout(x, config.embd_pdrop, self.training)
        states = [x]
        recompute = self.training and torch.is_grad_enabled() and input_ids.numel() > config.max_kept_tokens
        for block in self.h[:layers]:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            states = [*states, x] if every else [x]
        return states

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode texts of any length; each token has read those before it.

        One longer than `n_positions` tokens is read in windows that overlap by half (`ContextWindows`).

        Args:
            input_ids: (batch, time), padded on the right.
            attention_mask: (batch, time), 1 for tokens; all are tokens where it is None.
        """
        wanted = bool(
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        time, lengths = input_ids.shape[1], row_lengths(input_ids, attention_mask)
        if time <= self.config.n_positions:
            states = self.read(input_ids, every=wanted)
        else:
            windows = ContextWindows.of(lengths, self.config.n_positions, causal=True)
            states = [windows.joined(x, time) for x in self.read(windows.cut(input_ids), every=wanted)]
        output = BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if wanted else None
        )
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
    ) -> CausalLMOutput | tuple[Any, ...]:
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
        result = CausalLMOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)
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
