"""The biLM over characters of ELMo (Peters et al. 2018, section 3.1): encoder and language model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.encoder import ElmoModel, ElmoOutput, ElmoPreTrainedModel, State
from nlptl.nn.sequences import reverse_valid, valid_lengths
from nlptl.nn.softmax import IGNORED, Candidates, linear_cross_entropy, log_frequencies, sampled_cross_entropy

__all__ = [
    "ElmoForCausalLM",
    "ElmoLanguageModelOutput",
    "ElmoModel",
    "ElmoOutput",
    "ElmoPreTrainedModel",
    "State",
]


@dataclass
class ElmoLanguageModelOutput(ModelOutput):
    """What the language model returns.

    Attributes:
        loss: mean of the two directions' losses.
        forward_loss, backward_loss: mean cross entropy of each, in nats a word.
        logits, backward_logits: (batch, time, vocabulary), for the word after and the word before; absent where
            `targets` were given, so that they are never held at once.
        state: as in `ElmoOutput`.
        hidden_states: as in `ElmoOutput`; of two streams (2, batch, time, projection size) each, in reading order.
    """

    loss: Tensor | None = None
    forward_loss: Tensor | None = None
    backward_loss: Tensor | None = None
    logits: Tensor | None = None
    backward_logits: Tensor | None = None
    state: State | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class ElmoForCausalLM(ElmoPreTrainedModel):
    """The language model: the encoder, and one softmax for both directions."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.encoder = ElmoModel(config)
        self.lm_head = nn.Linear(config.projection_size, config.vocab_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The softmax as bilm-tf begins."""
        super()._init_weights(module)
        if module is self.lm_head:
            init.normal_(
                self.get_output_embeddings().weight, 0.0, 1.0 / math.sqrt(self.config.projection_size)
            )

    def get_output_embeddings(self) -> nn.Linear:
        """The softmax layer."""
        head: nn.Linear = self.lm_head
        return head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the softmax layer."""
        self.lm_head = value

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: characters to words, each LSTM layer, softmax."""
        return [*self.encoder.layer_groups(), list(self.lm_head.parameters())]

    @torch.no_grad()
    def start_from_frequencies(self, counts: Tensor) -> None:
        """Set the softmax bias to the log frequencies of the words, so that training does not have to find them.

        Args:
            counts: (vocabulary,), occurrences in the training text.
        """
        self.lm_head.bias.copy_(log_frequencies(counts).to(self.lm_head.bias.dtype))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        backward_input_ids: Tensor | None = None,
        backward_targets: Tensor | None = None,
        state: State | None = None,
        candidates: Candidates | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ElmoLanguageModelOutput | tuple[Any, ...]:
        """Predict each word from those before it and from those after it.

        Either both directions read the same texts, with `labels` or without, or, for truncated BPTT, each has a
        stream of its own: then `targets`, `backward_input_ids` and `backward_targets` are all given.

        Args:
            input_ids: (batch, time, 50) characters.
            attention_mask: (batch, time), as for the encoder; of two streams it holds for both.
            labels: (batch, time), the words' own ids, which are shifted in here; -100 is not predicted.
            targets: (batch, time), the word to predict at each position; -100 is left out.
            backward_input_ids, backward_targets: the same for the stream that is read from the end of the text, in
                the order in which it is read.
            state: as for the encoder.
            candidates: train against these instead of the full softmax.

        Raises:
            ValueError: one stream is given without the other, or `labels` beside them.
        """
        streams = (targets, backward_input_ids, backward_targets)
        if any(given is not None for given in streams):
            if (
                labels is not None
                or targets is None
                or backward_input_ids is None
                or backward_targets is None
            ):
                raise ValueError(
                    "two streams are targets, backward_input_ids and backward_targets together, without labels"
                )
            tokens = self.encoder.char_cnn(torch.stack([input_ids, backward_input_ids]))
            lengths = None
            if attention_mask is not None:
                lengths = valid_lengths(attention_mask)
                tokens = tokens.masked_fill(~attention_mask.bool()[..., None], 0.0)
            hidden_states, after = self.encoder.read(tokens, state, lengths)
            ahead, back = self.encoder.dropped(hidden_states[-1])
            losses = [self._loss(ahead, targets, candidates), self._loss(back, backward_targets, candidates)]
            logits = backward_logits = None
            kept = hidden_states
        else:
            hidden_states, after, lengths = self.encoder.read_both_ways(input_ids, attention_mask, state)
            ahead, back = self.encoder.dropped(hidden_states[-1])
            back = reverse_valid(back, lengths)
            logits, backward_logits = self.lm_head(ahead), self.lm_head(back)
            losses = []
            if labels is not None:
                following, preceding = _neighbours(labels, lengths)
                losses = [self._loss(ahead, following, candidates), self._loss(back, preceding, candidates)]
            kept = [torch.cat([x[0], reverse_valid(x[1], lengths)], dim=-1) for x in hidden_states]
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        result = ElmoLanguageModelOutput(
            loss=(losses[0] + losses[1]) / 2 if losses else None,
            forward_loss=losses[0] if losses else None,
            backward_loss=losses[1] if losses else None,
            logits=logits,
            backward_logits=backward_logits,
            state=after,
            hidden_states=tuple(kept) if wanted else None,
        )
        return result if return_dict is not False else result.to_tuple()

    def _loss(self, hidden: Tensor, targets: Tensor, candidates: Candidates | None) -> Tensor:
        """Mean cross entropy of `hidden` (batch, time, projection size) against `targets` (batch, time)."""
        kept = targets != IGNORED
        hidden, wanted = hidden[kept], targets[kept].long()
        weight, bias = self.lm_head.weight, self.lm_head.bias
        if candidates is None:
            return linear_cross_entropy(hidden, weight, bias, wanted)
        return sampled_cross_entropy(hidden, weight, bias, wanted, candidates)


def _neighbours(labels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """For each position the word after it and the word before it, (batch, time) each; -100 where there is none."""
    steps = torch.arange(labels.shape[1], device=labels.device)
    labels = labels.masked_fill(steps >= lengths[:, None], IGNORED)
    edge = labels.new_full((labels.shape[0], 1), IGNORED)
    following = torch.cat([labels[:, 1:], edge], dim=1)
    preceding = torch.cat([edge, labels[:, :-1]], dim=1)
    # Padding predicts nothing: the shift would make the first of it predict the last word.
    return following, preceding.masked_fill(steps >= lengths[:, None], IGNORED)
