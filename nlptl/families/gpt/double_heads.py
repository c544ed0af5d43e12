"""A language model that also scores several endings of a text, as OpenAI's release was fine-tuned on story endings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils import ModelOutput

from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.modeling import GptModel, GptPreTrainedModel, next_tokens
from nlptl.nn.dropout import dropout
from nlptl.nn.softmax import linear_cross_entropy


@dataclass
class GptDoubleHeadsOutput(ModelOutput):
    """What the model returns.

    Attributes:
        loss, mc_loss: cross entropy in nats, of tokens and of endings.
        logits: (batch, endings, time, vocabulary).
        mc_logits: (batch, endings).
        hidden_states: only on request, each (batch, endings, time, width).
    """

    loss: Tensor | None = None
    mc_loss: Tensor | None = None
    logits: Tensor | None = None
    mc_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class GptDoubleHeadsModel(GptPreTrainedModel):
    """Encoder, tied softmax, and one linear score of the vector at each ending's extract token (section 3.3)."""

    _tied_weights_keys = {"lm_head.weight": "transformer.tokens_embed.weight"}
    _keys_to_ignore_on_load_unexpected = [r"attn\.bias$"]

    def __init__(self, config: GptConfig) -> None:
        super().__init__(config)
        self.transformer = GptModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.multiple_choice_head = nn.ModuleDict({"summary": nn.Linear(config.n_embd, 1)})
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: embeddings (the softmax is one of them), each block, the score."""
        return [*self.transformer.layer_groups(), list(self.multiple_choice_head.parameters())]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        mc_token_ids: Tensor | None = None,
        labels: Tensor | None = None,
        mc_labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> GptDoubleHeadsOutput | tuple[Any, ...]:
        """Score endings.

        Args:
            input_ids, attention_mask: (batch, endings, time), padded on the right.
            mc_token_ids: (batch, endings), the place whose vector is scored; by default each row's last token.
            labels: (batch, endings, time), token ids; shifted in here, -100 is left out.
            mc_labels: (batch,), the right ending.
        """
        shape = input_ids.shape
        mask = None if attention_mask is None else attention_mask.flatten(0, 1)
        output = self.transformer(input_ids.flatten(0, 1), mask, output_hidden_states=output_hidden_states)
        hidden = output.last_hidden_state
        if mc_token_ids is None:
            held = hidden.new_full((len(hidden),), shape[2]).long() if mask is None else mask.sum(dim=1)
            mc_token_ids = (held - 1).clamp(min=0).view(shape[:2])
        place = mc_token_ids.flatten()[:, None, None].expand(-1, 1, hidden.shape[2])
        vectors = dropout(hidden.gather(1, place)[:, 0], self.config.summary_first_dropout, self.training)
        mc_logits = self.multiple_choice_head["summary"](vectors).view(shape[:2])
        loss = None
        if labels is not None:
            targets = next_tokens(labels.flatten(0, 1), mask)
            loss = linear_cross_entropy(hidden.flatten(0, 1), self.lm_head.weight, None, targets.flatten())
        states = output.hidden_states
        result = GptDoubleHeadsOutput(
            loss=loss,
            mc_loss=None if mc_labels is None else F.cross_entropy(mc_logits, mc_labels),
            logits=self.lm_head(hidden).view(*shape, -1),
            mc_logits=mc_logits,
            hidden_states=None if states is None else tuple(x.view(*shape, -1) for x in states),
        )
        return result if return_dict is not False else result.to_tuple()
