"""The contract that a family of pretrained language models meets.

A command asks a family for a tokenizer, a config, a language model and a classifier, and never looks inside. What
makes families alike is small:

- the **tokenizer** makes model inputs (`input_ids`, of characters where a family reads characters, and
  `attention_mask`), for texts of any length and for pairs;
- every **model** has `layer_groups()`, bottom to top, and takes texts of any length;
- a **corpus** is one number a token (`corpus_encoder`), cut into `windows`; a **language model** takes the batches
  that `window_collate` makes of them and returns `loss` (nats a token), and `state` where it is recurrent. A family
  that is trained in another way overrides `train_language_model`;
- a **classifier** has `represent(input_ids, attention_mask)`, a text's vectors or those of its tokens, and
  `classify`, which makes logits of them; their composition is `forward`, so that the first can be computed once and
  the second trained alone. `with_ngrams` comes last, and adds what a regression on n-grams says of a text's tokens.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from nlptl.config import LmTuningConfig, PretrainConfig, TrainingConfig, nearest
from nlptl.errors import ConfigError, ModelError
from nlptl.families.subword_tokenizer import SubwordTokenizer
from nlptl.training.language_modeling import (
    HeldOut,
    LanguageModelJob,
    WindowCollate,
    WindowStreams,
    language_model_figures,
    next_token_batch,
    train_language_model,
)
from nlptl.training.models import LayeredClassifier, LayeredModel
from nlptl.training.runs import TrainingResult
from nlptl.training.windows import Corpus, CorpusEncoder, stream_windows

# Keys of a model's config that follow from something else.
SETTLED = frozenset(
    (
        "vocab_size",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "sep_token_id",
        "mask_token_id",
        "gap_token_ids",
        "is_encoder_decoder",
        "delimiter_token_id",
        "extract_token_id",
        "new_tokens",
        "direction",
        "bidirectional",
        "calibration_temperature",
        "ngrams",
        "longest_ngram",
        "spelled_tokens",
        "format_version",
    )
)


@dataclass(frozen=True)
class ImportSettings:
    """What an import is told beside its files; a system that knows no such thing leaves it alone.

    Attributes:
        backward: the checkpoint reads texts from their end.
        texts: where a vocabulary can be cut to that of some texts, these texts.
        heads: attention heads, where the checkpoint does not say.
    """

    backward: bool = False
    texts: Iterable[str] | None = None
    heads: int | None = None


class Family(ABC):
    """One family: how its parts are built, and the recipe that its paper trains them by."""

    name: ClassVar[str]
    config_class: ClassVar[type[PreTrainedConfig]]
    language_model_class: ClassVar[type[LayeredModel]]
    classifier_class: ClassVar[type[LayeredClassifier]]
    encoder_class: ClassVar[type[PreTrainedModel]]
    tokenizers: ClassVar[Sequence[str]]
    """Names of the classes of tokenizers that a model folder of the family may have."""
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]]
    reads_backward: ClassVar[bool] = False
    samples_softmax: ClassVar[bool] = False
    predicts_tokens: ClassVar[bool] = True
    """Whether what is pretrained is a language model, whose loss on held-out text can be told."""
    language_model_auto: ClassVar[str] = "AutoModelForCausalLM"
    """The Auto class of `transformers` that loads what is pretrained."""
    imports: ClassVar[Sequence[str]] = ()
    """Systems whose checkpoints `convert` reads."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]]
    """For `pretrain` (from scratch), `tune` (an LM that goes on), `finetune` and `freeze`: values that a run's config
    takes where the user says nothing."""

    def finetuning_recipe(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """`recipes["finetune"]`, fitted to a language model with this `config.json`."""
        return self.recipes["finetune"]

    def named_size(self, size: str) -> Mapping[str, Any]:
        """The config values of a named size.

        Raises:
            ConfigError: there is none of that name.
        """
        if size not in self.sizes:
            raise ConfigError(
                f"{self.name} has no size '{size}'{nearest(size, list(self.sizes))}", "size", _of(self.sizes)
            )
        return self.sizes[size]

    @abstractmethod
    def register(self) -> None:
        """Make the Auto classes of `transformers` know this family."""

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """What of a new model can be known before its text is read.

        Raises:
            ConfigError: an unknown size, an unknown key in `architecture`, or a value that makes no model or tokenizer.
        """
        checked_architecture(self.config_class, {**self.named_size(size), **architecture})

    @abstractmethod
    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """A tokenizer of a new model, learned from the training text.

        Args:
            on_note: told what a user should know of the learning.
        """

    @abstractmethod
    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """The config of a new language model.

        Raises:
            ConfigError: an unknown size, an unknown key in `architecture`, or one of the wrong type.
        """

    @abstractmethod
    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """A classifier whose encoder comes from a language model and whose head is new.

        Args:
            language_models: one folder, or a forward and a backward one.
            labels: `id2label`, `label2id` and `problem_type`, for the config.

        Raises:
            ModelError: the language models do not fit together, or are not of this family.
        """

    def classifier_tokenizer(
        self, tokenizer: PreTrainedTokenizerBase, architecture: Mapping[str, Any]
    ) -> PreTrainedTokenizerBase:
        """What a classifier with these keys of its config reads texts with; by default what the language model does."""
        return tokenizer

    def tokenizer_note(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> str | None:
        """A sentence for the user where these texts, a sample, would be read better with another tokenizer."""
        return None

    def load_language_model(
        self, folder: Path, architecture: Mapping[str, Any], *, backward: bool = False
    ) -> LayeredModel:
        """A language model to go on with, some of its config (dropouts) changed.

        Args:
            backward: begin a backward model with a forward one's weights: its embedding serves both ways, and its
                layers learn to read anew.
        """
        own = self.config_class.from_pretrained(folder)
        changes = checked_architecture(self.config_class, architecture, own)
        if backward:
            changes["direction"] = "backward"
        return self.language_model_class.from_pretrained(folder, **changes)

    def adopts(self, config: Mapping[str, Any]) -> bool:
        """Whether a model folder with this `config.json` is of the family."""
        return config.get("model_type") == self.config_class.model_type

    def saved_class(self, config: Mapping[str, Any]) -> type[PreTrainedModel]:
        """The class of the weights that lie beside this `config.json`, by the class that saved them."""
        names = config.get("architectures") or ()
        classes: tuple[type[PreTrainedModel], ...] = (self.classifier_class, self.language_model_class)
        return next((kind for kind in classes if kind.__name__ in names), self.encoder_class)

    def check_options(self, config: PretrainConfig | LmTuningConfig, run: TrainingConfig) -> None:
        """Options of the training of a language model, new or going on, that not every family has.

        Args:
            config: of the training, its recipe filled in; `run`: of the whole run.

        Raises:
            ConfigError: one that means nothing here, or that the family cannot be trained with.
        """
        if isinstance(config, PretrainConfig) and config.backward and not self.reads_backward:
            raise ConfigError(f"{self.name} has no models that read backward", "--backward", "leave it out")
        if config.sampled_softmax and not self.samples_softmax:
            cause = f"{self.name} is trained on the full softmax"
            raise ConfigError(cause, "sampled_softmax", "set it to 0")

    def corpus_encoder(self, tokenizer: PreTrainedTokenizerBase) -> CorpusEncoder:
        """How the text of a language model becomes one number a token; by default the tokenizer's ids."""
        unknown = tokenizer.unk_token_id or 0
        if isinstance(tokenizer, SubwordTokenizer):
            return CorpusEncoder(tokenizer.corpus_ids(), len(tokenizer), unknown=unknown, in_python=True)

        def encode(texts: list[str]) -> list[list[int]]:
            ids: list[list[int]] = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
            return ids

        return CorpusEncoder(encode, len(tokenizer), unknown=unknown, in_python=not tokenizer.is_fast)

    def windows(
        self,
        corpus: Corpus,
        rows: int,
        length: int,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
    ) -> WindowStreams:
        """A corpus as windows, in the direction that the model reads."""
        backward = getattr(config, "direction", "forward") == "backward"
        return stream_windows(corpus.ids, rows, length, backward)

    def window_collate(
        self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, training: bool
    ) -> WindowCollate:
        """Windows -> a batch of the language model: its inputs, and what it is to predict.

        Args:
            training: what is drawn at random here (noise to remove) must be the same each time for measuring.
        """
        return next_token_batch

    def train_language_model(self, job: LanguageModelJob) -> TrainingResult:
        """Train, and leave the best model in the run's `model/`; by gradients unless a family knows another way."""
        return train_language_model(job)

    def language_model_figures(
        self, model: LayeredModel, held_out: HeldOut, collate: WindowCollate, device: torch.device
    ) -> dict[str, float]:
        """How well a language model does on held-out text: `tokens`, and of `loss`, `perplexity` and
        `bits_per_character` those that it has."""
        return language_model_figures(model, held_out, collate, device)

    def head_architecture(self, head: str) -> dict[str, Any]:
        """Keys of the classifier's config that make it a fresh head of this kind on frozen vectors.

        Raises:
            ConfigError: the family has no such head.
        """
        kinds: dict[str, dict[str, Any]] = {
            "logistic": {"head": "linear"},
            "mlp": {"head": "blocks"},
            "bilstm-attention": {
                "head": "bilstm-attention",
                "head_hidden_sizes": [128],
                "head_dropouts": [0.5, 0.5],
            },
        }
        if head not in kinds:
            raise ConfigError(f"{self.name} has no head '{head}'", "--head", _of(kinds))
        return kinds[head]

    def prepare_new(self, model: LayeredModel, counts: Tensor) -> None:  # noqa: B027  # most families need none
        """Last touches on a new language model, given how often each token occurs."""

    def convert(self, files: Mapping[str, Path], output: Path, settings: ImportSettings) -> dict[str, Any]:
        """Import a checkpoint of an original system (one of `imports`) into the folder `output`.

        Args:
            files: by the name of the option that gave them.

        Returns:
            `parameters`, `vocabulary`, `ignored_keys`, and `notes` for the user.

        Raises:
            ModelError: a file is damaged, refused, or does not fit the others.
        """
        raise ModelError(
            f"no foreign checkpoint is known for the family {self.name}", remedy="use another --from"
        )


def checked_architecture(
    config_class: type[PreTrainedConfig],
    architecture: Mapping[str, Any],
    model: PreTrainedConfig | None = None,
) -> dict[str, Any]:
    """Keys of a model's config that a run's config sets.

    Args:
        model: the config of the model that goes on, where there is one, with which the values have to agree.

    Raises:
        ConfigError: a key that the config class does not declare, or a value of the wrong type.
    """
    known = {f.name for f in dataclasses.fields(config_class)} - {
        f.name for f in dataclasses.fields(PreTrainedConfig)
    }
    settled = [key for key in architecture if key in SETTLED]
    if settled:
        cause = f"{', '.join(settled)} cannot be chosen"
        raise ConfigError(
            cause, "architecture", "leave it out: the tokenizer, the command and the data decide it"
        )
    known -= SETTLED
    unknown = [key for key in architecture if key not in known]
    if unknown:
        named = "; ".join(f"unknown key '{key}'{nearest(key, sorted(known))}" for key in unknown)
        raise ConfigError(named, "architecture", f"it takes {', '.join(sorted(known))}")
    try:
        config_class(**{**({} if model is None else model.to_dict()), **architecture})
    except (StrictDataclassError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[-1].strip().removeprefix("TypeError: ")
        raise ConfigError(first[:200], "architecture", "mend the value") from None
    return dict(architecture)


def _of(names: Iterable[str]) -> str:
    return "choose one of " + ", ".join(names)


def checked_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, where: Path) -> None:
    """A tokenizer must not know ids that the model has no row for.

    Raises:
        ModelError: it does.
    """
    tokens = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))
    if tokens > config.vocab_size:
        raise ModelError(
            f"its tokenizer has {tokens} tokens and its model rows for {config.vocab_size}",
            str(where),
            "use a model folder whose files belong together",
        )
