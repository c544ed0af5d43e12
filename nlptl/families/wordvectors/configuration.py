"""The config of a table of word vectors and of the classifier built on it."""

# No postponed annotations here: `strict` checks types, not strings.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from nlptl.nn.heads import check_head
from nlptl.nn.ngrams import check_ngrams
from nlptl.nn.temperature import check_temperature

SPECIAL_TOKENS = ("<pad>", "<unk>", "<sep>")  # the first rows of every table
PAD, UNK, SEP = range(3)


@strict
class WordVectorsConfig(PreTrainedConfig):
    """Everything that a model of word vectors is constructed from.

    The first three rows of the table are those of `SPECIAL_TOKENS`; the vectors of padding and of the mark between a
    pair of texts are zeros.

    Attributes:
        vocab_size: rows, special tokens included.
        embedding_size: width of a vector.
        skip_gram: how pretraining goes: each word tells those around it, which learns more from little text, instead of
            being told by their mean, which is several times as fast.
        window: words to each side in pretraining, the reach drawn anew for each word.
        vector_dropout: of the classifier: on the values of each token's vector.
        max_trained_tokens: the last so many tokens of a text move their vectors when a classifier is trained; those
            before them are pooled all the same. This bounds memory for documents of any length.
        head, head_hidden_sizes, head_dropouts, head_bias: the classifier on top, as in ULMFiT.
        pooling: how a text's vectors become one: as in ULMFiT, or `sif`, the mean of its distinct words in which a
            common word counts for less (`families/wordvectors/pooling.py`), beside the mean of all its words. There
            `vector_dropout` is on the values of the text's vector.
        calibration_temperature: what a trained classifier's logits are divided by (see `LayeredClassifier.calibrated`).
        ngrams, longest_ngram, spelled_tokens: how many n-grams of up to how many tokens, and of the characters of so
            many tokens, a trained classifier scores beside what its network says (see `nn.ngrams`).
    """

    model_type = "nlptl-wordvectors"

    vocab_size: int = 100_000
    embedding_size: int = 300
    skip_gram: bool = False
    window: int = 10
    pad_token_id: int | None = PAD
    vector_dropout: float | int = 0.0
    max_trained_tokens: int = 2048
    head: Literal["blocks", "linear", "bilstm-attention"] = "blocks"
    head_hidden_sizes: list[int] | tuple[int, ...] = (50,)
    head_dropouts: list[float | int] | tuple[float | int, ...] = (0.4, 0.1)
    head_bias: bool = False
    pooling: Literal["mean", "max", "last", "concat", "sif"] = "concat"
    tie_word_embeddings: bool = False
    calibration_temperature: float | int = 1.0
    ngrams: int = 0
    longest_ngram: int = 3
    spelled_tokens: int = 0
    format_version: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if min(self.embedding_size, self.window, self.max_trained_tokens, *self.head_hidden_sizes) < 1:
            raise ValueError(
                "embedding_size, window, max_trained_tokens and head_hidden_sizes must be positive"
            )
        if self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(f"vocab_size must be more than the {len(SPECIAL_TOKENS)} special tokens")
        if not all(0 <= rate < 1 for rate in (self.vector_dropout, *self.head_dropouts)):
            raise ValueError("a dropout is a probability from 0 to below 1")
        check_head(self.head, self.head_hidden_sizes, self.head_dropouts)
        check_temperature(self.calibration_temperature)
        check_ngrams(self.ngrams, self.longest_ngram, self.spelled_tokens)

    @property
    def num_hidden_layers(self) -> int:
        """Layers above the embedding: none."""
        return 0

    def pooled_width(self) -> int:
        """Width of a text's vector."""
        return self.embedding_size * {"concat": 3, "sif": 2}.get(self.pooling, 1)
