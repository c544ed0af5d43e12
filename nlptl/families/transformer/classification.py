"""A classifier on the Transformer's encoder: documents of any length in windows, tokens pooled, a head on top."""

from __future__ import annotations

from torch import Tensor

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.modeling import TransformerModel, TransformerPreTrainedModel
from nlptl.families.windowed_classification import WindowedClassifier
from nlptl.nn.context_windows import in_parts
from nlptl.nn.dropout import dropout
from nlptl.nn.heads import build_head
from nlptl.nn.pooling import RunningPool


class TransformerForSequenceClassification(TransformerPreTrainedModel, WindowedClassifier):
    """Encoder, pooling and a head; or a head that reads all layers of every token.

    A text longer than the context is read in windows that overlap by half; each token is pooled once.
    """

    causal = False
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^lm_head\."]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.encoder = TransformerModel(config)
        self.head = build_head(
            config.head,
            config.width if self.reads_tokens else config.pooled_width(),
            config.head_hidden_sizes,
            config.head_dropouts,
            int(config.num_labels or 0),
            config.head_bias,
            layers=config.num_encoder_layers + 1,
        )
        self.post_init()

    def read_windows(self, input_ids: Tensor, valid: Tensor) -> list[Tensor]:
        """By the encoder."""
        return self.encoder.read(input_ids, valid)

    def pair_marks(self) -> tuple[int | None, int, int]:
        """The tokenizer's separator, begin and end tokens."""
        return self.config.sep_token_id, 1, 1

    def pooled(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of texts, (batch, pooled width); where pairs are symmetric, both orders are read and added."""
        config = self.config
        ids, lengths = self.in_both_orders(input_ids, lengths)
        windows = self.windows(lengths)

        def read(chosen: Tensor, kept: bool) -> RunningPool:
            part = windows.chosen(chosen)
            states = self.encoder.read(part.cut(ids), part.valid, config.feature_layer)
            return RunningPool.of(states[-1], part.owned).by_group(part.of_text, part.texts)

        vectors = RunningPool.in_turn(in_parts(self.trained(windows), read)).result(config.pooling)
        return dropout(self.orders_added(vectors, input_ids), config.classifier_dropout, self.training)
