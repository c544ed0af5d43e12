"""The Transformer (Vaswani et al. 2017): its encoder, and encoder and decoder as a model that removes noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

from nlptl.families.transformer.blocks import EncoderBlock, Places, TransformerDecoder
from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.nn.context_windows import ContextWindows
from nlptl.nn.scalar_mix import ScalarMix
from nlptl.nn.sequences import row_lengths
from nlptl.nn.softmax import IGNORED, linear_cross_entropy
from nlptl.training.models import LayeredModel


class TransformerPreTrainedModel(LayeredModel):
    """What all Transformers share: names, initialisation."""

    config: TransformerConfig
    config_class = TransformerConfig
    base_model_prefix = "encoder"
    # Arguments beyond the inputs are not taken, so that the Trainer itself averages over accumulated batches.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Glorot's uniform for layers; the embedding such that, scaled by the root of the width, it varies by 1."""
        if isinstance(module, nn.Embedding) or module is self.get_output_embeddings():
            init.normal_(module.weight, std=self.config.width**-0.5)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (nn.LSTM, nn.BatchNorm1d, ScalarMix)):
            module.reset_parameters()


class TransformerModel(TransformerPreTrainedModel):
    """The encoder: embedding and a stack of blocks, closed by a normalisation as in `torch.nn.Transformer`."""

    _input_embed_layer = "embedding"
    # Loaded from the whole model or a classifier it takes its part and has no use for the rest.
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^lm_head\.", r"^head\."]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.places = Places(config)
        self.layers = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_encoder_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters bottom to top: embedding and places, then each block, the last with the final normalisation."""
        blocks = [list(layer.parameters()) for layer in self.layers]
        blocks[-1] += self.norm.parameters()
        return [[*self.embedding.parameters(), *self.places.parameters()], *blocks]

    def read(self, input_ids: Tensor, valid: Tensor | None, layers: int | None = None) -> list[Tensor]:
        """Run the stack over one context.

        Args:
            input_ids: (batch, time), at most `max_positions` of them, padded on the right.
            valid: (batch, time), True or 1 for tokens; None where all are.
            layers: blocks to run; None for all.

        Returns:
            The embedding's output and that of each block; the last is normalised.
        """
        config = self.config
        valid = readable(valid)
        x = self.places(self.embedding(input_ids))
        states = [x]
        recompute = self.training and torch.is_grad_enabled() and input_ids.numel() > config.max_kept_tokens
        for layer in self.layers[:layers]:
            x = checkpoint(layer, x, valid, use_reentrant=False) if recompute else layer(x, valid)
            states.append(x)
        if len(states) == len(self.layers) + 1:
            states[-1] = self.norm(x)
        return states

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode texts of any length; each token reads all others of its window.

        A text longer than `max_positions` is read in windows that overlap by half, and each token's vector is that of
        the window in whose middle it lies (`ContextWindows`).

        Args:
            input_ids: (batch, time), padded on the right.
            attention_mask: (batch, time), 1 for tokens; all are tokens where it is None.
        """
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        time, lengths = input_ids.shape[1], row_lengths(input_ids, attention_mask)
        if time <= self.config.max_positions:
            states = self.read(input_ids, attention_mask)
        else:
            windows = ContextWindows.of(lengths, self.config.max_positions, causal=False)
            pieces = self.read(windows.cut(input_ids), windows.valid)
            states = [windows.joined(x, time) for x in (pieces if wanted else pieces[-1:])]
        output = BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if wanted else None
        )
        return output if return_dict is not False else output.to_tuple()


class TransformerForDenoising(TransformerPreTrainedModel):
    """Encoder and decoder, whose embeddings and softmax are one matrix (section 3.4)."""

    _tied_weights_keys = {"lm_head.weight": "encoder.embedding.weight"}

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.encoder = TransformerModel(config)
        self.decoder = TransformerDecoder(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Encoder blocks, decoder blocks, then embedding and softmax together."""
        embedding, *blocks = self.encoder.layer_groups()
        decoder = [list(layer.parameters()) for layer in self.decoder.layers]
        decoder[-1] += self.decoder.norm.parameters()
        softmax = [p for p in self.lm_head.parameters() if all(p is not q for q in embedding)]
        return [*blocks, *decoder, [*embedding, *self.decoder.places.parameters(), *softmax]]

    def decode(self, decoder_input_ids: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        """What the softmax reads after each token written: (batch, time, width)."""
        hidden: Tensor = self.decoder(self.encoder.embedding(decoder_input_ids), memory, memory_mask)
        return hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Read a text with gaps and predict what belongs in them; the hidden states are the encoder's.

        The loss is in nats a token written, in training with label smoothing. There are logits, (batch, time written,
        vocabulary), only where there are no `labels`, so that they are never held at once.

        Args:
            input_ids, attention_mask: as for the encoder.
            decoder_input_ids: (batch, time written); by default `labels`, or the text itself, after the begin token.
            labels: (batch, time written), what is to be written; -100 is left out.
        """
        output = self.encoder(input_ids, attention_mask, output_hidden_states=output_hidden_states)
        mask = readable(attention_mask)
        if decoder_input_ids is None:
            decoder_input_ids = self.after_begin(input_ids if labels is None else labels)
        hidden = self.decode(decoder_input_ids, output.last_hidden_state, mask)
        loss = logits = None
        if labels is None:
            logits = self.lm_head(hidden)
        else:
            smoothing = self.config.label_smoothing if self.training else 0.0
            loss = linear_cross_entropy(
                hidden.flatten(0, 1), self.lm_head.weight, None, labels.flatten(), smoothing=smoothing
            )
        result = MaskedLMOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)
        return result if return_dict is not False else result.to_tuple()

    def after_begin(self, written: Tensor) -> Tensor:
        """What the decoder reads when it is to write this: the begin token, and all but the last."""
        begin = written.new_full((written.shape[0], 1), self.config.bos_token_id or 0)
        return torch.cat([begin, written[:, :-1].masked_fill(written[:, :-1] == IGNORED, 0)], dim=1)

    @torch.inference_mode()
    def reconstruct(self, input_ids: Tensor, attention_mask: Tensor | None, most: int) -> list[list[int]]:
        """Write greedily what belongs in the gaps of each text, up to its end or `most` tokens.

        Texts of a corpus end within its windows, and what a gap hides may hold such an end. The end token closes what
        is written only once all gaps of a text have been named or, where it has none, as many tokens as it has.
        """
        memory = self.encoder(input_ids, attention_mask).last_hidden_state
        mask = readable(attention_mask)
        first, count = self.config.gap_token_ids
        gaps = torch.where((input_ids >= first) & (input_ids < first + count), input_ids, -1).amax(dim=1)
        lengths = (torch.ones_like(input_ids) if attention_mask is None else attention_mask).sum(dim=1)
        complete = gaps.new_zeros(len(gaps), dtype=torch.bool)
        written = input_ids.new_full((len(gaps), 1), self.config.bos_token_id or 0)
        ends = torch.full_like(gaps, most)
        for place in range(most):
            last = self.lm_head(self.decode(written, memory, mask)[:, -1]).argmax(dim=1)
            written = torch.cat([written, last[:, None]], dim=1)
            complete |= torch.where(gaps < 0, lengths <= place, last == gaps)
            ended = complete & (last == self.config.end_token_id())
            ends = torch.where(ended, ends.clamp(max=place), ends)
            if bool((ends <= place).all()):
                break
        return [row[:end] for row, end in zip(written[:, 1:].tolist(), ends.tolist(), strict=True)]


def readable(mask: Tensor | None) -> Tensor | None:
    """What attention may read, of a mask (batch, time) that is 1 for tokens; None where that is all.

    A row without any token reads its first place, which belongs to nobody: attention to nothing is no number.
    """
    if mask is None or bool(mask.all()):
        return None
    return mask.bool() | (torch.arange(mask.shape[1], device=mask.device) == 0)
