"""A table of word vectors: what word2vec, GloVe and fastText train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from nlptl.families.wordvectors.configuration import PAD, SEP, WordVectorsConfig
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.training.models import LayeredModel


@dataclass
class WordVectorsOutput(ModelOutput):
    """What the table returns.

    Attributes:
        last_hidden_state: (batch, time, width), the tokens' vectors.
        hidden_states: the same and nothing else, on request.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class WordVectorsPreTrainedModel(LayeredModel):
    """What the models share: names, initialisation."""

    config: WordVectorsConfig
    config_class = WordVectorsConfig
    base_model_prefix = "encoder"
    # Arguments beyond the inputs are not taken, so that the Trainer itself averages over accumulated batches.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Vectors uniform within 0.5 / width, as word2vec has them; `<pad>` and `<sep>` zeros; the rest as torch."""
        if isinstance(module, nn.Embedding):
            bound = 0.5 / module.embedding_dim
            init.uniform_(module.weight, -bound, bound)
            for row in (PAD, SEP):
                init.zeros_(module.weight[row])
        elif isinstance(module, ScalarMix):
            module.reset_parameters()
        else:
            super()._init_weights(module)


class WordVectorsModel(WordVectorsPreTrainedModel):
    """The table: what is pretrained and imported."""

    # Loaded from a classifier it takes its part and has no use for the rest.
    _keys_to_ignore_on_load_unexpected = [r"^head\."]

    def __init__(self, config: WordVectorsConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=PAD)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table."""
        assert isinstance(value, nn.Embedding)
        self.embedding = value

    def get_output_embeddings(self) -> None:
        """None: a table predicts no tokens."""

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The table alone."""
        return [list(self.embedding.parameters())]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> WordVectorsOutput | tuple[Any, ...]:
        """Look tokens up; `input_ids` (batch, time). No token depends on another: mask and cache change nothing."""
        vectors = self.embedding(input_ids)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = WordVectorsOutput(vectors, (vectors,) if wanted else None)
        return output if return_dict is not False else output.to_tuple()
