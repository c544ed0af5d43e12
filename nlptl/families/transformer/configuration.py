"""The config of the encoder–decoder and of the classifier built on its encoder."""

# No postponed annotations here: `strict` checks types, not strings.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from nlptl.nn.heads import check_head
from nlptl.nn.ngrams import check_ngrams
from nlptl.nn.temperature import check_temperature


@strict
class TransformerConfig(PreTrainedConfig):
    """Everything that a Transformer is constructed from.

    Defaults are the base model of Vaswani et al. (2017), table 3; probabilities are those of being dropped.

    Attributes:
        width: of the embedding and of every layer's output (d_model).
        feed_forward_width: inside the position-wise networks (d_ff).
        max_positions: tokens that are read at once; a longer text is read in windows that overlap by half.
        positions: sinusoidal, or learned as an embedding.
        norm: `post` normalises the sum of a layer's input and output, as the paper does; `pre` the layer's input.
        dropout: on the embedding and on each layer's output before it is added.
        attention_dropout: of the attention weights; on a GPU torch's kernels leave their fused path for it.
        noise: what is to be reconstructed. `spans`: runs of tokens are replaced by one gap each, and the decoder
            writes what stood in each gap; `masks`: single tokens are replaced by a mask, and the decoder writes the
            whole text.
        noise_density: share of the tokens that the encoder does not see; mean_span_length: tokens of a gap.
        label_smoothing: share of the probability that training spreads over the vocabulary (section 5.4).
        gap_token_ids: the first gap token and how many there are.
        feature_layer: how many encoder blocks the text's vectors come from; None for all. 0 is the embedding.
        classifier_dropout: on the pooled vector.
        pair_symmetric: read both orders of a pair of texts and add their vectors.
        max_trained_tokens: in training, gradients flow through the windows at a text's end that hold so many tokens.
        max_kept_tokens: in training, activations of at most so many tokens of a batch are kept; beyond that each
            block is computed again in the backward pass.
        head, head_hidden_sizes, head_dropouts, head_bias, pooling: the classifier on top; see `nn.heads.build_head`.
        calibration_temperature: what a trained classifier's logits are divided by (see `LayeredClassifier.calibrated`).
        ngrams, longest_ngram, spelled_tokens: how many n-grams of up to how many tokens, and of the characters of so
            many tokens, a trained classifier scores beside what its network says (see `nn.ngrams`).
    """

    model_type = "nlptl-transformer"
    attribute_map = {
        "num_hidden_layers": "num_encoder_layers",
        "num_attention_heads": "num_heads",
        "hidden_size": "width",
        "max_position_embeddings": "max_positions",
    }

    vocab_size: int = 32000
    width: int = 512
    feed_forward_width: int = 2048
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    max_positions: int = 512
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    norm: Literal["post", "pre"] = "post"
    activation: Literal["relu", "gelu"] = "relu"
    layer_norm_epsilon: float = 1e-5
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    noise: Literal["spans", "masks"] = "spans"
    noise_density: float | int = 0.2
    mean_span_length: float | int = 3.0
    label_smoothing: float | int = 0.1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    sep_token_id: int | None = 3
    mask_token_id: int | None = 4
    gap_token_ids: list[int] | tuple[int, ...] = (5, 64)
    feature_layer: int | None = None
    classifier_dropout: float | int = 0.1
    pair_symmetric: bool = False
    max_trained_tokens: int = 4096
    max_kept_tokens: int = 16384
    head: Literal["blocks", "linear", "bilstm-attention"] = "linear"
    head_hidden_sizes: list[int] | tuple[int, ...] = (50,)
    head_dropouts: list[float | int] | tuple[float | int, ...] = (0.4, 0.1)
    head_bias: bool = False
    pooling: Literal["mean", "max", "last", "concat"] = "mean"
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    calibration_temperature: float | int = 1.0
    ngrams: int = 0
    longest_ngram: int = 3
    spelled_tokens: int = 0
    format_version: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        sizes = (self.vocab_size, self.width, self.feed_forward_width, self.num_heads)
        if min(*sizes, self.num_encoder_layers, self.num_decoder_layers) < 1 or self.max_positions < 4:
            raise ValueError(
                "vocab_size, the widths and the numbers of heads and layers must be positive, max_positions 4 at least"
            )
        if self.width % self.num_heads:
            raise ValueError(
                f"num_heads must divide width, and {self.num_heads} does not divide {self.width}"
            )
        rates = (
            self.dropout,
            self.attention_dropout,
            self.label_smoothing,
            self.classifier_dropout,
            *self.head_dropouts,
        )
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError("a dropout and label_smoothing are shares from 0 to below 1")
        if not 0 < self.noise_density < 1 or self.mean_span_length < 1:
            raise ValueError("noise_density lies between 0 and 1, and mean_span_length is 1 or more")
        if self.feature_layer is not None and not 0 <= self.feature_layer <= self.num_encoder_layers:
            raise ValueError(f"feature_layer is a number from 0 to {self.num_encoder_layers}")
        if min(self.max_trained_tokens, self.max_kept_tokens) < 1:
            raise ValueError("max_trained_tokens and max_kept_tokens must be positive")
        check_head(self.head, self.head_hidden_sizes, self.head_dropouts)
        check_temperature(self.calibration_temperature)
        check_ngrams(self.ngrams, self.longest_ngram, self.spelled_tokens)
        if self.head == "bilstm-attention" and self.pair_symmetric:
            raise ValueError(
                "bilstm-attention reads the tokens of a pair in one order: pair_symmetric must be off"
            )

    def end_token_id(self) -> int:
        """The token that ends what is written."""
        return self.eos_token_id if isinstance(self.eos_token_id, int) else -1

    def pooled_width(self) -> int:
        """Width of a text's vector."""
        return self.width * (3 if self.pooling == "concat" else 1)
