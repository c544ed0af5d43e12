"""Word vectors (word2vec, GloVe, fastText) as a family: the baseline that pretrained language models replaced.

Only the first layer is pretrained: a vector a word, whatever stands around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from nlptl import processes
from nlptl.config import LmTuningConfig, PretrainConfig, TrainingConfig
from nlptl.errors import ConfigError
from nlptl.families.base import Family, ImportSettings, checked_architecture
from nlptl.families.wordvectors.classification import WordVectorsForSequenceClassification
from nlptl.families.wordvectors.configuration import SEP, SPECIAL_TOKENS, UNK, WordVectorsConfig
from nlptl.families.wordvectors.conversion import import_vectors
from nlptl.families.wordvectors.modeling import WordVectorsModel
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer, train_tokenizer
from nlptl.families.wordvectors.training import check_plan, train_word_vectors
from nlptl.training.language_modeling import HeldOut, LanguageModelJob, WindowCollate
from nlptl.training.models import LayeredClassifier, LayeredModel
from nlptl.training.runs import TrainingResult
from nlptl.training.windows import CorpusEncoder, Windows

# A step is a slice of batch_size x bptt words. gensim's updates are plain: they have no use for the optimizer's keys
# and for the decay, which every recipe names.
BAG_OF_WORDS = {
    "batch_size": 100,
    "bptt": 1000,
    "learning_rate": 0.05,
    "discriminative_decay": 1.0,
    "schedule": "linear",
    "sampled_softmax": 5,
    "optimizer": {"betas": (0.9, 0.999), "weight_decay": 0.0, "gradient_clip": 0.0},
}


class WordVectorsFamily(Family):
    """A table of word vectors under a pooling classifier."""

    name = "wordvectors"
    tokenizers = ("WordVectorsTokenizer",)
    samples_softmax = True
    predicts_tokens = False
    imports = ("word2vec", "glove")
    config_class = WordVectorsConfig
    encoder_class = WordVectorsModel
    language_model_class = WordVectorsModel
    classifier_class = WordVectorsForSequenceClassification
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 50},
        "small": {"embedding_size": 100},
        "base": {"embedding_size": 300},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {
            **BAG_OF_WORDS,
            "size": "small",
            "tokenizer": "word",
            "vocab_size": 100_000,
            "epochs": 5,
        },
        "tune": {**BAG_OF_WORDS, "epochs": 5},
        "finetune": {
            "lm_tuning": False,
            "epochs": 10,
            "batch_size": 32,
            "learning_rate": 1e-2,
            "discriminative_decay": 2.6,
            "gradual_unfreezing": False,
            "schedule": "linear",
            "optimizer": {"betas": (0.9, 0.999), "weight_decay": 1e-6, "gradient_clip": 25.0},
        },
        "freeze": {"lm_tuning": False, "batch_size": 32},
    }

    def register(self) -> None:
        """There is no causal language model to register."""
        AutoConfig.register(WordVectorsConfig.model_type, WordVectorsConfig, exist_ok=True)
        AutoModel.register(WordVectorsConfig, WordVectorsModel, exist_ok=True)
        AutoModelForSequenceClassification.register(
            WordVectorsConfig, WordVectorsForSequenceClassification, exist_ok=True
        )
        AutoTokenizer.register(WordVectorsConfig, tokenizer_class=WordVectorsTokenizer, exist_ok=True)

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """As every family; and a vector is that of a word."""
        super().check_new(size, kind, vocab_size, architecture)
        if kind != "word":
            raise ConfigError("word vectors are those of words", "tokenizer", "set it to word")
        if vocab_size <= len(SPECIAL_TOKENS):
            cause = f"a vocabulary of {vocab_size} has no room for words beside {len(SPECIAL_TOKENS)} special tokens"
            raise ConfigError(cause, "vocab_size", "set it to 10000 or more")

    def check_options(self, config: PretrainConfig | LmTuningConfig, run: TrainingConfig) -> None:
        """As every family; and what gensim's training needs and has not."""
        super().check_options(config, run)
        check_plan(config, run)

    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """The most frequent words; `kind` is `word`."""
        return train_tokenizer(texts, vocab_size, on_note)

    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """A named size, for this tokenizer."""
        values = {**self.named_size(size), **checked_architecture(WordVectorsConfig, architecture)}
        return WordVectorsConfig(vocab_size=len(tokenizer), **values)

    def head_architecture(self, head: str) -> dict[str, Any]:
        """As every family's; a head on one vector a text gets the words weighted by how much they say."""
        keys = super().head_architecture(head)
        return keys if head == "bilstm-attention" else {**keys, "pooling": "sif"}

    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """One table under a new head."""
        (folder,) = language_models
        changes = checked_architecture(WordVectorsConfig, architecture)
        config = WordVectorsConfig.from_pretrained(folder, **changes, **labels)
        model = WordVectorsForSequenceClassification(config)
        model.encoder.load_state_dict(WordVectorsModel.from_pretrained(folder).state_dict())
        return model

    def corpus_encoder(self, tokenizer: PreTrainedTokenizerBase) -> CorpusEncoder:
        """The ids of each text and a mark of its end: words of two texts are not each other's context."""
        assert isinstance(tokenizer, WordVectorsTokenizer)
        return CorpusEncoder(
            lambda texts: [[*tokenizer.text_ids(text), SEP] for text in texts], len(tokenizer), unknown=UNK
        )

    def train_language_model(self, job: LanguageModelJob) -> TrainingResult:
        """By gensim, against sampled words, which is the work of one process."""
        return processes.first(lambda: train_word_vectors(job))

    def language_model_figures(
        self, model: LayeredModel, held_out: HeldOut, collate: WindowCollate, device: torch.device
    ) -> dict[str, float]:
        """How many held-out words there are: a table predicts none of them."""
        assert isinstance(held_out.windows, Windows)
        return {"tokens": int(np.count_nonzero(held_out.windows.ids != SEP))}

    def convert(self, files: Mapping[str, Path], output: Path, settings: ImportSettings) -> dict[str, Any]:
        """word2vec's text or binary, GloVe's text, fastText's `.vec`; cut to the words of the texts named."""
        return import_vectors(files["weights"], output, settings.texts)
