"""The config of the GPT language model and of the classifier built on it."""

# No postponed annotations here: `strict` checks types, not strings.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import OpenAIGPTConfig

from nlptl.nn.heads import check_head
from nlptl.nn.ngrams import check_ngrams
from nlptl.nn.temperature import check_temperature

NATIVE = OpenAIGPTConfig.model_type


@strict
class GptConfig(OpenAIGPTConfig):
    """Everything that a GPT model is constructed from: OpenAI GPT's own keys as `transformers` names them, and ours.

    Defaults are the sizes of Radford et al. (2018), section 4.1; probabilities are those of being dropped. A native
    `config.json` is read as one of these.

    Attributes:
        afn: "gelu" is the formula by the hyperbolic tangent, as in the original.
        attn_pdrop: of the attention weights; on a GPU torch's kernels leave their fused path for it.
        bos_token_id, delimiter_token_id, extract_token_id: the start, delimiter and extract tokens of section 3.3,
            where the tokenizer has them. A document longer than the context is read in windows with start and extract
            of their own.
        new_tokens: how many tokens at the end of the vocabulary the language model did not know; their embeddings are
            the classifier's own.
        feature_layer: how many blocks the text's vectors come from; None for all. 0 is the embedding.
        pooling: `extract` takes the vector at a window's last token, which is the extract token where there is one, and
            averages windows; the others are over all tokens.
        classifier_dropout: on the pooled vector.
        lm_weight: of the auxiliary language-model loss in fine-tuning (section 3.2, equation 5).
        pair_symmetric: read both orders of a pair of texts and add their vectors (section 3.3, similarity).
        max_trained_tokens: in training, gradients flow through the windows at a text's end that hold so many tokens.
        max_kept_tokens: in training, activations of at most so many tokens of a batch are kept; beyond that each
            block is computed again in the backward pass.
        head, head_hidden_sizes, head_dropouts, head_bias: the classifier on top; see `nn.heads.build_head`.
        calibration_temperature: what a trained classifier's logits are divided by (see `LayeredClassifier.calibrated`).
        ngrams, longest_ngram, spelled_tokens: how many n-grams of up to how many tokens, and of the characters of so
            many tokens, a trained classifier scores beside what its network says (see `nn.ngrams`).
    """

    model_type = "nlptl-gpt"

    delimiter_token_id: int | None = None
    extract_token_id: int | None = None
    new_tokens: int = 0
    feature_layer: int | None = None
    pooling: Literal["extract", "mean", "max", "last", "concat"] = "extract"
    classifier_dropout: float | int = 0.1
    lm_weight: float | int = 0.5
    pair_symmetric: bool = False
    max_trained_tokens: int = 4096
    max_kept_tokens: int = 16384
    head: Literal["blocks", "linear", "bilstm-attention"] = "linear"
    head_hidden_sizes: list[int] | tuple[int, ...] = (50,)
    head_dropouts: list[float | int] | tuple[float | int, ...] = (0.4, 0.1)
    head_bias: bool = False
    calibration_temperature: float | int = 1.0
    ngrams: int = 0
    longest_ngram: int = 3
    spelled_tokens: int = 0
    format_version: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if min(self.vocab_size, self.n_embd, self.n_layer, self.n_head) < 1 or self.n_positions < 4:
            raise ValueError(
                "vocab_size, n_embd, n_layer and n_head must be positive, and n_positions four at least"
            )
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head must divide n_embd, and {self.n_head} does not divide {self.n_embd}")
        if self.afn not in ("gelu", "gelu_new", "relu", "silu"):
            raise ValueError("afn is one of gelu, gelu_new, relu, silu")
        rates = (
            self.resid_pdrop,
            self.embd_pdrop,
            self.attn_pdrop,
            self.summary_first_dropout,
            self.classifier_dropout,
            *self.head_dropouts,
        )
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError("a dropout is a probability from 0 to below 1")
        if self.feature_layer is not None and not 0 <= self.feature_layer <= self.n_layer:
            raise ValueError(f"feature_layer is a number from 0 to {self.n_layer}")
        if self.lm_weight < 0 or not 0 <= self.new_tokens < self.vocab_size:
            raise ValueError("lm_weight and new_tokens must not be negative, and not all tokens are new")
        if min(self.max_trained_tokens, self.max_kept_tokens) < 1:
            raise ValueError("max_trained_tokens and max_kept_tokens must be positive")
        check_head(self.head, self.head_hidden_sizes, self.head_dropouts)
        check_temperature(self.calibration_temperature)
        check_ngrams(self.ngrams, self.longest_ngram, self.spelled_tokens)

        if self.head == "bilstm-attention" and self.pair_symmetric:
            raise ValueError(
                "bilstm-attention reads the tokens of a pair in one order: pair_symmetric must be off"
            )

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of a folder, a native one included, whose `model_type` is then ours."""
        values, rest = super().get_config_dict(*args, **kwargs)
        if values.get("model_type") == NATIVE:
            values = {**values, "model_type": cls.model_type}
        return values, rest

    def pretrained_tokens(self) -> int:
        """How many tokens the language model knows."""
        return self.vocab_size - self.new_tokens

    def pooled_width(self) -> int:
        """Width of a text's vector."""
        return self.n_embd * (3 if self.pooling == "concat" else 1)
