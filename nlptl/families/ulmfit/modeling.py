"""AWD-LSTM (Merity et al. 2018) as ULMFiT uses it (Howard & Ruder 2018): encoder and language model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import initialization as init
from transformers.utils import ModelOutput

from nlptl import processes
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.nn.dropout import embed, locked_dropout
from nlptl.nn.lstm import Lstm
from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty
from nlptl.nn.sequences import reverse_valid, valid_lengths
from nlptl.nn.softmax import IGNORED, Candidates, linear_cross_entropy, log_frequencies, sampled_cross_entropy
from nlptl.nn.weight_drop import LSTMState, WeightDroppedLSTM
from nlptl.training.models import LayeredModel

State = tuple[LSTMState, ...]


@dataclass
class UlmfitOutput(ModelOutput):
    """What the encoder returns.

    Attributes:
        last_hidden_state: (batch, time, embedding size), before the output dropout.
        state: for each layer (h, c), each (1, batch, width), after each row's last token in reading order.
        hidden_states: embedding output, then one a layer, each (batch, time, width of the layer).
    """

    last_hidden_state: Tensor | None = None
    state: State | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class UlmfitLanguageModelOutput(ModelOutput):
    """What the language model returns.

    Attributes:
        loss: mean cross entropy in nats a token; in training plus the AR and TAR penalties.
        cross_entropy: the same without the penalties.
        logits: (batch, time, vocabulary); absent where `targets` were given, so that they are never held at once.
        state, hidden_states: as in `UlmfitOutput`.
    """

    loss: Tensor | None = None
    cross_entropy: Tensor | None = None
    logits: Tensor | None = None
    state: State | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class UlmfitPreTrainedModel(LayeredModel):
    """What all ULMFiT models share: names, initialisation."""

    config: UlmfitConfig
    config_class = UlmfitConfig
    base_model_prefix = "encoder"
    # Arguments beyond the inputs are not taken, so that the Trainer itself averages over accumulated batches.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Uniform as in AWD-LSTM: +-0.1 for the embedding, +-1/sqrt(width) for the LSTMs; the rest as torch does."""
        if isinstance(module, nn.LSTM):
            bound = 1.0 / math.sqrt(module.hidden_size)
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)
        elif isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -0.1, 0.1)
        elif isinstance(module, nn.Linear):
            if (
                module.out_features == self.config.vocab_size
                and module.in_features == self.config.embedding_size
            ):
                init.uniform_(module.weight, -0.1, 0.1)
            else:
                init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class UlmfitModel(UlmfitPreTrainedModel):
    """The encoder: embedding and a stack of LSTMs with weight drop and locked dropout."""

    _input_embed_layer = "embedding"
    # Loaded from a language model or a classifier it takes its part and has no use for the rest.
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\.", r"^head\.", r"^backward_"]

    def __init__(self, config: UlmfitConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        inputs = [config.embedding_size, *config.layer_widths()[:-1]]
        self.layers = nn.ModuleList(
            Lstm(width_in, width_out, batch_first=True)
            for width_in, width_out in zip(inputs, config.layer_widths(), strict=True)
        )
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: embedding, then each LSTM."""
        return [list(self.embedding.parameters()), *(list(layer.parameters()) for layer in self.layers)]

    def embed(self, input_ids: Tensor) -> Tensor:
        """What the ids stand for, some words dropped in training: ids of any shape -> (*shape, embedding size)."""
        return embed(input_ids, self.embedding.weight, self.config.embedding_dropout, self.training)

    def draw(self) -> list[WeightDroppedLSTM]:
        """The LSTMs with the weights of one forward pass, which may read a text in several pieces."""
        lstms = [layer for layer in self.layers if isinstance(layer, nn.LSTM)]
        return [WeightDroppedLSTM(lstm, self.config.weight_dropout, self.training) for lstm in lstms]

    def read(
        self,
        x: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
        drawn: Sequence[WeightDroppedLSTM] | None = None,
    ) -> tuple[list[Tensor], State]:
        """Run the stack over embedded tokens that are already in reading order.

        Args:
            x: (batch, time, embedding size), of `embed`.
            state: as returned, or None for zeros.
            lengths: (batch,). Given, each row's state is that after its last token; without it, that after the
                last position, padding included.
            drawn: of `draw`, where this is one piece of several; drawn for this one otherwise.

        Returns:
            The outputs of the embedding and of every layer before dropout, and the state.
        """
        config = self.config
        hidden_states, after = [x], []
        x = locked_dropout(x, config.input_dropout, self.training)
        for number, lstm in enumerate(self.draw() if drawn is None else drawn):
            before = None if state is None else state[number]
            if lengths is None:
                x, last = lstm(x, before)
            else:
                packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
                packed, last = lstm(packed, before)
                x, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
            hidden_states.append(x)
            after.append(last)
            if number < len(self.layers) - 1:
                x = locked_dropout(x, config.hidden_layer_dropout, self.training)
        return hidden_states, tuple(after)

    @staticmethod
    def _unmoved(after: State, before: State | None, lengths: Tensor) -> State:
        """States in which rows without any token have stayed where they were."""
        some = (lengths > 0)[None, :, None]

        def kept(new: Tensor, old: Tensor | None) -> Tensor:
            return torch.where(some, new, torch.zeros_like(new) if old is None else old)

        pairs = zip(after, before or [(None, None)] * len(after), strict=True)
        return tuple((kept(h, old_h), kept(c, old_c)) for (h, c), (old_h, old_c) in pairs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: State | None = None,
        use_cache: bool = True,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> UlmfitOutput | tuple[Any, ...]:
        """Encode tokens; a backward model reads each row from its last token to its first.

        Args:
            input_ids: (batch, time), in the order of the text, padded on the right.
            attention_mask: (batch, time), 1 for tokens; all are tokens where it is None.
            state: of the piece read before this one. For a backward model that is the piece after it in the text.
            use_cache: return the state. Without it padded rows need not be packed, which is faster.

        Returns:
            Outputs in the order of the text: position t has read the tokens up to t (backward: from t on).
        """
        padded = attention_mask is not None and not bool(attention_mask.all())
        lengths = valid_lengths(attention_mask) if padded and attention_mask is not None else None
        backward = self.config.direction == "backward"
        full = input_ids.new_full((input_ids.shape[0],), input_ids.shape[1])
        ids = reverse_valid(input_ids, full if lengths is None else lengths) if backward else input_ids
        # Packing refuses empty rows; one of its padding tokens is read and belongs to nobody.
        packed = None if lengths is None or not use_cache else lengths.clamp(min=1)
        hidden_states, after = self.read(self.embed(ids), state, packed)
        if packed is not None and lengths is not None:
            after = self._unmoved(after, state, lengths)
        if backward:
            hidden_states = [reverse_valid(x, full if lengths is None else lengths) for x in hidden_states]
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = UlmfitOutput(
            last_hidden_state=hidden_states[-1],
            state=after if use_cache else None,
            hidden_states=tuple(hidden_states) if wanted else None,
        )
        return output if return_dict is not False else output.to_tuple()


class UlmfitForCausalLM(UlmfitPreTrainedModel):
    """The language model: the encoder and a softmax tied to its embedding."""

    _tied_weights_keys = {"lm_head.weight": "encoder.embedding.weight"}

    def __init__(self, config: UlmfitConfig) -> None:
        super().__init__(config)
        self.encoder = UlmfitModel(config)
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """LSTM layers bottom to top, then embedding and softmax together, as the authors' LM tuning orders them."""
        embedding, *layers = self.encoder.layer_groups()
        softmax = [p for p in self.lm_head.parameters() if all(p is not q for q in embedding)]
        return [*layers, [*embedding, *softmax]]

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
        state: State | None = None,
        candidates: Candidates | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> UlmfitLanguageModelOutput | tuple[Any, ...]:
        """Predict each token from those read before it.

        Args:
            input_ids, attention_mask, state: as for the encoder.
            labels: (batch, time), the ids themselves as `transformers` expects them; shifted in here.
            targets: (batch, time), the token to predict at each position; -100 is left out. For truncated BPTT,
                where the last target lies beyond the window.
            candidates: train against these instead of the full softmax.
        """
        output = self.encoder(input_ids, attention_mask, state, output_hidden_states=output_hidden_states)
        raw = output.last_hidden_state
        dropped = locked_dropout(raw, self.config.output_dropout, self.training)
        logits = None if targets is not None else self.lm_head(dropped)
        if labels is not None:
            targets = self._shifted(labels, attention_mask)
        cross_entropy = loss = None
        if targets is not None:
            hidden, wanted = dropped.flatten(0, 1), targets.flatten()
            weight, bias = self.lm_head.weight, self.lm_head.bias
            if candidates is None:
                cross_entropy = linear_cross_entropy(hidden, weight, bias, wanted)
            else:
                cross_entropy = sampled_cross_entropy(hidden, weight, bias, wanted, candidates)
            loss = cross_entropy
            if self.training:
                valid = None if attention_mask is None else attention_mask.bool()
                rows = len(input_ids)  # windows of a stream are of one length, so that each row counts alike
                activation = self.config.activation_penalty * activation_penalty(dropped, valid)
                loss = loss + processes.weighed(activation, rows)
                temporal = self.config.temporal_activation_penalty * temporal_activation_penalty(raw, valid)
                loss = loss + processes.weighed(temporal, rows)
        result = UlmfitLanguageModelOutput(
            loss=loss,
            cross_entropy=cross_entropy,
            logits=logits,
            state=output.state,
            hidden_states=output.hidden_states,
        )
        return result if return_dict is not False else result.to_tuple()

    def _shifted(self, labels: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is not None:
            labels = labels.masked_fill(attention_mask == 0, IGNORED)
        edge = labels.new_full((labels.shape[0], 1), IGNORED)
        if self.config.direction == "backward":
            shifted = torch.cat([edge, labels[:, :-1]], dim=1)
        else:
            shifted = torch.cat([labels[:, 1:], edge], dim=1)
        # Padding predicts nothing: going backward, the shift would make the first of it predict the last token.
        return shifted if attention_mask is None else shifted.masked_fill(attention_mask == 0, IGNORED)
