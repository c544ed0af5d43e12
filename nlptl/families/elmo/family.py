"""ELMo (Peters et al. 2018) as a family: its sizes, its recipes, and how its parts are built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from nlptl.errors import ConfigError
from nlptl.families.base import Family, ImportSettings, checked_architecture
from nlptl.families.elmo.classification import ElmoForSequenceClassification
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.corpus import corpus_encoder, two_stream_batch, two_streams
from nlptl.families.elmo.modeling import ElmoForCausalLM, ElmoModel
from nlptl.families.elmo.tokenization import SPECIAL_WORDS, ElmoTokenizer, train_tokenizer
from nlptl.training.language_modeling import WindowCollate, WindowStreams
from nlptl.training.models import LayeredClassifier, LayeredModel
from nlptl.training.windows import Corpus, CorpusEncoder

NARROW_FILTERS = [[1, 16], [2, 32], [3, 64], [4, 128], [5, 128]]
RELEASED = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]


class ElmoFamily(Family):
    """Bidirectional language models over characters, mostly used as fixed feature extractors."""

    name = "elmo"
    tokenizers = ("ElmoTokenizer",)
    samples_softmax = True
    imports = ("allennlp",)
    config_class = ElmoConfig
    encoder_class = ElmoModel
    language_model_class = ElmoForCausalLM
    classifier_class = ElmoForSequenceClassification
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "character_embedding_size": 8,
            "filters": [[1, 8], [2, 16], [3, 32]],
            "highway_layers": 1,
            "projection_size": 32,
            "cell_size": 64,
        },
        "mini": {"filters": NARROW_FILTERS, "highway_layers": 1, "projection_size": 128, "cell_size": 256},
        # The three of the original release.
        "small": {"filters": RELEASED, "highway_layers": 1, "projection_size": 128, "cell_size": 1024},
        "medium": {"filters": RELEASED, "highway_layers": 1, "projection_size": 256, "cell_size": 2048},
        "base": {"filters": RELEASED, "highway_layers": 2, "projection_size": 512, "cell_size": 4096},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {
            "size": "mini",
            "tokenizer": "word",
            "vocab_size": 30000,
            "epochs": 2,
            "batch_size": 128,
            "bptt": 32,
            "learning_rate": 3e-3,
            "discriminative_decay": 1.0,
            "schedule": "slanted-triangular",
            "sampled_softmax": 1024,
            "optimizer": {"betas": (0.9, 0.99), "weight_decay": 1e-3, "gradient_clip": 1.0},
            "architecture": {"dropout": 0.1},
        },
        "tune": {
            "epochs": 3,
            "batch_size": 32,
            "bptt": 32,
            "learning_rate": 1e-3,
            "discriminative_decay": 1.0,
            "schedule": "slanted-triangular",
            "sampled_softmax": 1024,
            "optimizer": {"betas": (0.9, 0.99), "weight_decay": 1e-3, "gradient_clip": 1.0},
            "architecture": {"dropout": 0.1},
        },
        "finetune": {
            "lm_tuning": True,
            "epochs": 8,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "discriminative_decay": 2.6,
            "gradual_unfreezing": True,
            "schedule": "slanted-triangular",
            "optimizer": {"betas": (0.9, 0.99), "weight_decay": 1e-3, "gradient_clip": 5.0},
            "architecture": {},
        },
        "freeze": {"lm_tuning": False, "batch_size": 32},
    }

    def register(self) -> None:
        """The Auto classes of `transformers` load this family."""
        AutoConfig.register(ElmoConfig.model_type, ElmoConfig, exist_ok=True)
        AutoModel.register(ElmoConfig, ElmoModel, exist_ok=True)
        AutoModelForCausalLM.register(ElmoConfig, ElmoForCausalLM, exist_ok=True)
        AutoModelForSequenceClassification.register(ElmoConfig, ElmoForSequenceClassification, exist_ok=True)
        AutoTokenizer.register(ElmoConfig, tokenizer_class=ElmoTokenizer, exist_ok=True)

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """As every family; what is predicted are words."""
        super().check_new(size, kind, vocab_size, architecture)
        if kind != "word":
            raise ConfigError(
                "elmo predicts words, not subwords", "tokenizer", "set it to word, or leave it out"
            )
        if vocab_size <= len(SPECIAL_WORDS):
            cause = f"a vocabulary of {vocab_size} holds no word beside the {len(SPECIAL_WORDS)} special ones"
            raise ConfigError(cause, "in vocab_size", "ask for some thousands")

    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """The most frequent words, in lower case, for the softmax; the model itself reads any word's characters."""
        return train_tokenizer(texts, vocab_size, on_note)

    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """A named size, for this vocabulary."""
        values = {**self.named_size(size), **checked_architecture(ElmoConfig, architecture)}
        return ElmoConfig(vocab_size=len(tokenizer), **values)

    def corpus_encoder(self, tokenizer: PreTrainedTokenizerBase) -> CorpusEncoder:
        """Words by their number in the vocabulary; rare ones beyond it, with their spelling."""
        assert isinstance(tokenizer, ElmoTokenizer)
        return corpus_encoder(tokenizer)

    def windows(
        self,
        corpus: Corpus,
        rows: int,
        length: int,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
    ) -> WindowStreams:
        """The text and, beside it, the text from its end."""
        assert isinstance(tokenizer, ElmoTokenizer)
        return two_streams(corpus, rows, length, tokenizer)

    def window_collate(
        self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, training: bool
    ) -> WindowCollate:
        """Both directions' characters and the words they are to predict."""
        return two_stream_batch

    def prepare_new(self, model: LayeredModel, counts: Tensor) -> None:
        """Start from the words' frequencies, so that training does not have to find them."""
        assert isinstance(model, ElmoForCausalLM)
        model.start_from_frequencies(counts)

    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """The biLM of a folder under a new head."""
        (folder,) = language_models
        changes = checked_architecture(ElmoConfig, architecture)
        model = ElmoForSequenceClassification(ElmoConfig.from_pretrained(folder, **changes, **labels))
        model.encoder.load_state_dict(ElmoModel.from_pretrained(folder).state_dict())
        return model

    def head_architecture(self, head: str) -> dict[str, Any]:
        """Document vectors of a frozen model hold all layers, side by side; nothing of it has to be learned."""
        keys = super().head_architecture(head)
        return keys if head == "bilstm-attention" else {**keys, "layers": "all"}

    def convert(self, files: Mapping[str, Path], output: Path, settings: ImportSettings) -> dict[str, Any]:
        """The released `options.json` and `weights.hdf5`: an encoder, since its softmax was never released.

        Words keep their case, and there is no vocabulary beside the special words.
        """
        from nlptl.families.elmo.conversion import convert_weights, read_options

        config = ElmoConfig(vocab_size=len(SPECIAL_WORDS), **read_options(files["options"]))
        state_dict, ignored = convert_weights(files["weights"], config)
        model = ElmoModel(config)
        model.load_state_dict(state_dict)
        model.save_pretrained(output)
        ElmoTokenizer(SPECIAL_WORDS).save_pretrained(output)
        return {
            "parameters": model.num_parameters(),
            "vocabulary": config.vocab_size,
            "ignored_keys": ignored,
            "notes": [
                "an encoder without a softmax: for features and classifiers, not to go on as a language model"
            ],
        }
