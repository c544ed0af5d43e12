"""The encoder of ELMo (Peters et al. 2018, section 3.1): words from characters, and two LSTMs a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from nlptl.families.elmo.characters import CHARACTERS
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.nn.char_cnn import CharacterEmbedding, CharacterFilters, CharCnn, NormalLinear
from nlptl.nn.dropout import dropout
from nlptl.nn.projected_lstm import LstmState, ProjectedLstm
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import reverse_valid, valid_lengths
from nlptl.training.models import LayeredModel

# Layers that know how they begin.
SELF_STARTING = (CharacterEmbedding, CharacterFilters, NormalLinear, ProjectedLstm, ScalarMix)

State = tuple[LstmState, ...]


@dataclass
class ElmoOutput(ModelOutput):
    """What the encoder returns.

    Attributes:
        last_hidden_state: (batch, time, 2 * projection size), [forward, backward]; zeros at padding.
        state: for each layer (h, c), (2, rows, projection size) and (2, rows, cell size), each direction's after the
            last token that it reads.
        hidden_states: the words' vectors twice, then [forward, backward] of every layer.
    """

    last_hidden_state: Tensor | None = None
    state: State | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class ElmoPreTrainedModel(LayeredModel):
    """What all ELMo models share: names, initialisation."""

    config: ElmoConfig
    config_class = ElmoConfig
    base_model_prefix = "encoder"
    # Arguments beyond the inputs are not taken, so that the Trainer itself averages over accumulated batches.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Each layer as it begins by itself; linear layers of heads as torch does."""
        if isinstance(module, SELF_STARTING):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class ElmoModel(ElmoPreTrainedModel):
    """The encoder: words from characters, and layers of a forward and a backward LSTM that never see each other."""

    # Loaded from a language model or a classifier it takes its part and has no use for the rest.
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\.", r"^head\.", r"^mix\."]

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.char_cnn = CharCnn(
            CHARACTERS,
            config.character_embedding_size,
            config.filters,
            config.activation,
            config.highway_layers,
            config.projection_size,
        )
        self.layers = nn.ModuleList(
            ProjectedLstm(
                config.projection_size,
                config.cell_size,
                config.projection_size,
                config.cell_clip,
                config.projection_clip,
            )
            for _ in range(config.num_layers)
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of characters' vectors."""
        return self.char_cnn.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of characters' vectors."""
        assert isinstance(value, CharacterEmbedding)
        self.char_cnn.embedding = value

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: characters to words, then each LSTM layer."""
        return [list(self.char_cnn.parameters()), *(list(layer.parameters()) for layer in self.layers)]

    def dropped(self, x: Tensor) -> Tensor:
        """Element-wise dropout of the configured rate, in training."""
        return dropout(x, self.config.dropout, self.training)

    def read(
        self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """Run the layers over words' vectors that are already in the order in which each direction reads.

        Args:
            tokens: (2, batch, time, projection size), zeros at padding.
            state: as returned, or None for zeros. Of more rows than the batch, the first are used and the others come
                back as they were; of fewer, the new rows begin at zero.
            lengths: (batch,), the numbers of words; every position is one where it is None.

        Returns:
            `tokens` and the outputs of every layer, in reading order, and the state after each row's last word.
        """
        hidden_states, after, x = [tokens], [], tokens
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ProjectedLstm)
            x = self.dropped(x)
            before = None if state is None else _first_rows(state[number], x.shape[1])
            outputs, last = layer(x, before, lengths)
            x = outputs + x if number and self.config.skip_connections else outputs
            hidden_states.append(x)
            after.append(last if state is None else _with_other_rows(last, state[number]))
        return hidden_states, tuple(after)

    def read_both_ways(
        self, input_ids: Tensor, attention_mask: Tensor | None, state: State | None
    ) -> tuple[list[Tensor], State, Tensor]:
        """Encode texts. As `read` on both directions of them, and the texts' lengths (batch,)."""
        if attention_mask is None:
            attention_mask = input_ids[..., 0] != 0
        lengths = valid_lengths(attention_mask)
        x = self.char_cnn(input_ids).masked_fill(~attention_mask.bool()[..., None], 0.0)
        hidden_states, after = self.read(torch.stack([x, reverse_valid(x, lengths)]), state, lengths)
        return hidden_states, after, lengths

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: State | None = None,
        use_cache: bool = True,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ElmoOutput | tuple[Any, ...]:
        """Encode words.

        Args:
            input_ids: (batch, time, 50) characters, in the order of the text, padded on the right.
            attention_mask: (batch, time), 1 for words; where it is None, words are positions that hold characters.
            state: of the text read before, as bilm-tf carries it from batch to batch; rows as for `read`.
            use_cache: return the state.

        Returns:
            Outputs in the order of the text: at t the forward half has read words up to t, the backward half from t.
        """
        hidden_states, after, lengths = self.read_both_ways(input_ids, attention_mask, state)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        kept = hidden_states if wanted else hidden_states[-1:]
        sided = [torch.cat([x[0], reverse_valid(x[1], lengths)], dim=-1) for x in kept]
        output = ElmoOutput(
            last_hidden_state=sided[-1],
            state=after if use_cache else None,
            hidden_states=tuple(sided) if wanted else None,
        )
        return output if return_dict is not False else output.to_tuple()


def _first_rows(state: LstmState, rows: int) -> LstmState:
    """The state of so many rows; those that it lacks begin at zero."""
    h, c = (F.pad(x[:, :rows], (0, 0, 0, max(0, rows - x.shape[1]))) for x in state)
    return h, c


def _with_other_rows(new: LstmState, old: LstmState) -> LstmState:
    """A new state, followed by the rows of the old one beyond its own."""
    h, c = (torch.cat([x, y[:, x.shape[1] :].to(x.dtype)], dim=1) for x, y in zip(new, old, strict=True))
    return h, c
