"""The config of the AWD-LSTM language model and of the classifier built on it."""

# No postponed annotations here: `strict` checks types, not strings.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from nlptl.nn.heads import check_head
from nlptl.nn.ngrams import check_ngrams
from nlptl.nn.temperature import check_temperature


@strict
class UlmfitConfig(PreTrainedConfig):
    """Everything that an ULMFiT model is constructed from.

    Defaults are the sizes and the language-model dropouts of Howard & Ruder (2018) as the authors' scripts have
    them; probabilities are those of being dropped.

    Attributes:
        embedding_size: width of the embedding and of the last LSTM layer, which share the softmax matrix.
        hidden_size: width of the LSTM layers but the last.
        direction: `backward` reads each text from its end; ids, states and labels keep the order of the text.
        bidirectional: of a classifier: a second, backward encoder and head, class probabilities averaged (3.3).
        input_dropout: locked, on the embedded tokens.
        hidden_layer_dropout: locked, between the LSTM layers.
        output_dropout: locked, on what the softmax reads.
        embedding_dropout: whole words.
        weight_dropout: on the recurrent matrices.
        activation_penalty, temporal_activation_penalty: the factors alpha and beta of AR and TAR.
        chunk_length: tokens run at a time by the classifier (BPT3C, 3.3).
        max_pooled_tokens: a classifier's head reads, pooled or token by token, the chunks that start within so many
            tokens of a text's end (for a backward encoder: of its beginning), in training and afterwards.
        max_kept_tokens: in training, activations of at most so many tokens of a batch are kept; beyond that each
            chunk is computed again in the backward pass, which bounds memory for documents of any length.
        layers: of a classifier that pools: the last layer, or the embedding and all layers side by side.
        head, head_hidden_sizes, head_dropouts, head_bias, pooling: the classifier on top; see `nn.heads.build_head`.
        calibration_temperature: what a trained classifier's logits are divided by (see `LayeredClassifier.calibrated`).
        ngrams, longest_ngram, spelled_tokens: how many n-grams of up to how many tokens, and of the characters of so
            many tokens, a trained classifier scores beside what its network says (see `nn.ngrams`).
    """

    model_type = "nlptl-ulmfit"
    attribute_map = {"num_hidden_layers": "num_layers"}

    vocab_size: int = 60000
    embedding_size: int = 400
    hidden_size: int = 1152
    num_layers: int = 3
    direction: Literal["forward", "backward"] = "forward"
    bidirectional: bool = False
    pad_token_id: int | None = 1
    bos_token_id: int | None = 2
    input_dropout: float | int = 0.25
    hidden_layer_dropout: float | int = 0.15
    output_dropout: float | int = 0.1
    embedding_dropout: float | int = 0.02
    weight_dropout: float | int = 0.2
    activation_penalty: float | int = 2.0
    temporal_activation_penalty: float | int = 1.0
    chunk_length: int = 72
    max_pooled_tokens: int = 1440
    max_kept_tokens: int = 16384
    layers: Literal["last", "all"] = "last"
    head: Literal["blocks", "linear", "bilstm-attention"] = "blocks"
    head_hidden_sizes: list[int] | tuple[int, ...] = (50,)
    head_dropouts: list[float | int] | tuple[float | int, ...] = (0.4, 0.1)
    head_bias: bool = False
    pooling: Literal["mean", "max", "last", "concat"] = "concat"
    tie_word_embeddings: bool = True
    calibration_temperature: float | int = 1.0
    ngrams: int = 0
    longest_ngram: int = 3
    spelled_tokens: int = 0
    format_version: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        sizes = (self.vocab_size, self.embedding_size, self.hidden_size, self.num_layers, self.chunk_length)
        if min(sizes) < 1:
            raise ValueError(
                "vocab_size, embedding_size, hidden_size, num_layers and chunk_length must be positive"
            )
        rates = (
            self.input_dropout,
            self.hidden_layer_dropout,
            self.output_dropout,
            self.embedding_dropout,
            self.weight_dropout,
            *self.head_dropouts,
        )
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError("a dropout is a probability from 0 to below 1")
        check_head(self.head, self.head_hidden_sizes, self.head_dropouts)
        check_temperature(self.calibration_temperature)
        check_ngrams(self.ngrams, self.longest_ngram, self.spelled_tokens)
        if self.max_pooled_tokens < self.chunk_length:
            raise ValueError("max_pooled_tokens must be at least chunk_length, or nothing would be pooled")

    def layer_widths(self) -> list[int]:
        """Output width of each LSTM layer, bottom to top."""
        return [self.hidden_size] * (self.num_layers - 1) + [self.embedding_size]

    def pooled_width(self) -> int:
        """Width of a text's vector."""
        return self.token_width() * (3 if self.pooling == "concat" else 1)

    def token_width(self) -> int:
        """Width of what is pooled of each token."""
        return self.embedding_size + (sum(self.layer_widths()) if self.layers == "all" else 0)

    def mixed_layers(self) -> int:
        """How many layers, the embedding among them, are as wide as the last: those that a token head mixes."""
        return [self.embedding_size, *self.layer_widths()].count(self.embedding_size)
