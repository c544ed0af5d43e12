"""The config of the biLM over characters and of the classifier built on it."""

# No postponed annotations here: `strict` checks types, not strings.
from collections.abc import Sequence
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from nlptl.nn.ngrams import check_ngrams
from nlptl.nn.temperature import check_temperature

# Of Peters et al. (2018): (width in characters, number of filters).
RELEASED_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))


@strict
class ElmoConfig(PreTrainedConfig):
    """Everything that an ELMo model is constructed from.

    Defaults are the sizes of the original release (Peters et al. 2018, section 3.4).

    Attributes:
        vocab_size: words that the language model's softmax chooses from.
        character_embedding_size: width of a character's vector; there are 261 characters and a row for padding.
        filters: pairs of a filter's width in characters and how many there are.
        activation: after the maximum over a word's characters.
        highway_layers: between the filters and the projection.
        projection_size: width of a token's vector and of each direction's LSTM output.
        cell_size: width of the LSTM cells.
        cell_clip, projection_clip: bounds of the cell's state and of its projected output.
        skip_connections: a layer's output is added to the next one's.
        dropout: on the input of each LSTM layer and on the top output, in training of the language model.
        layers: of a classifier: the scalar mix of all layers (3.2), all side by side, or the last one.
        layer_norm: of the layers before they are mixed, over all tokens of a batch: with the statistics that AllenNLP
            takes (sentence boundaries included) or those of bilm-tf (without). Makes a text's result depend on its
            batch.
        mix_penalty: L2 penalty on the weights of the mix (3.3).
        vector_dropout: locked, on the words' vectors before they are pooled (3.3); a head on words has its own.
        segment_length: longer texts are read by the classifier in pieces of so many words.
        max_trained_tokens: in training, gradients flow through at most so many of a text's words, the last ones; the
            others are pooled all the same. A head that reads words reads these alone, in training and after it.
        pooling: how a classifier makes one vector of the words of a text.
        head, head_hidden_sizes, head_dropouts, head_bias: the classifier on top.
        calibration_temperature: what a trained classifier's logits are divided by (see `LayeredClassifier.calibrated`).
        ngrams, longest_ngram, spelled_tokens: how many n-grams of up to how many tokens, and of the characters of so
            many tokens, a trained classifier scores beside what its network says (see `nn.ngrams`).
    """

    model_type = "nlptl-elmo"
    attribute_map = {"num_hidden_layers": "num_layers"}

    vocab_size: int = 100000
    character_embedding_size: int = 16
    filters: list[Any] | tuple[Any, ...] = RELEASED_FILTERS
    activation: Literal["relu", "tanh"] = "relu"
    highway_layers: int = 2
    projection_size: int = 512
    cell_size: int = 4096
    num_layers: int = 2
    cell_clip: float | int = 3.0
    projection_clip: float | int = 3.0
    skip_connections: bool = True
    dropout: float | int = 0.1
    pad_token_id: int | None = 0
    layers: Literal["mix", "all", "last"] = "mix"
    layer_norm: Literal["none", "allennlp", "bilm-tf"] = "none"
    mix_penalty: float | int = 0.001
    vector_dropout: float | int = 0.1
    segment_length: int = 256
    max_trained_tokens: int = 1024
    pooling: Literal["mean", "max", "last", "concat"] = "concat"
    head: Literal["blocks", "linear", "bilstm-attention"] = "blocks"
    head_hidden_sizes: list[int] | tuple[int, ...] = (50,)
    head_dropouts: list[float | int] | tuple[float | int, ...] = (0.4, 0.1)
    head_bias: bool = True
    tie_word_embeddings: bool = False
    calibration_temperature: float | int = 1.0
    ngrams: int = 0
    longest_ngram: int = 3
    spelled_tokens: int = 0
    format_version: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        sizes = {
            "vocab_size": self.vocab_size,
            "character_embedding_size": self.character_embedding_size,
            "projection_size": self.projection_size,
            "cell_size": self.cell_size,
            "num_layers": self.num_layers,
            "segment_length": self.segment_length,
            "max_trained_tokens": self.max_trained_tokens,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be positive")
        if self.highway_layers < 0:
            raise ValueError("highway_layers must not be negative")
        if not all(0 <= rate < 1 for rate in (self.dropout, self.vector_dropout, *self.head_dropouts)):
            raise ValueError("a dropout is a probability from 0 to below 1")
        if min(self.cell_clip, self.projection_clip) <= 0:
            raise ValueError("cell_clip and projection_clip must be positive")
        if len(self.head_dropouts) != len(self.head_hidden_sizes) + 1:
            raise ValueError("head_dropouts needs one value more than head_hidden_sizes")
        check_temperature(self.calibration_temperature)
        check_ngrams(self.ngrams, self.longest_ngram, self.spelled_tokens)
        if not self.filters or not all(_is_filter(pair) for pair in self.filters):
            raise ValueError("filters must be pairs of a width of 1 to 50 characters and a number of filters")

    def token_width(self) -> int:
        """Width of a word's vector: both directions."""
        return 2 * self.projection_size


def _is_filter(pair: object) -> bool:
    return (
        isinstance(pair, Sequence)
        and len(pair) == 2
        and all(type(size) is int and size > 0 for size in pair)
        and pair[0] <= 50
    )
