"""The encoder–decoder Transformer (Vaswani et al. 2017) as a family, pretrained by removing noise from text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from nlptl import processes
from nlptl.errors import ConfigError
from nlptl.families.base import Family, checked_architecture
from nlptl.families.subword_tokenizer import check_subword_vocabulary
from nlptl.families.transformer.classification import TransformerForSequenceClassification
from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.corruption import DenoisingWindows, denoising_batch
from nlptl.families.transformer.modeling import TransformerForDenoising, TransformerModel
from nlptl.families.transformer.reconstruction import shown_reconstructions
from nlptl.families.transformer.tokenization import (
    GAPS,
    SPECIAL_TOKENS,
    TransformerTokenizer,
    train_transformer_tokenizer,
)
from nlptl.training.language_modeling import HeldOut, LanguageModelJob, Window, WindowCollate
from nlptl.training.models import LayeredClassifier, LayeredModel
from nlptl.training.runs import TrainingResult
from nlptl.training.windows import Corpus, stream_windows

# A small model that reads its text about once is far from learning it by heart. On little text the decoder learns to
# read what the encoder has to say only if that is much of what it writes (masks, not gaps) and not far to seek (short
# windows): 8 million tokens in windows of 256 with gaps left it guessing.
NEW = {"dropout": 0.0, "norm": "pre", "noise": "masks", "noise_density": 0.3, "max_positions": 64}
SHOWN = 3


class TransformerFamily(Family):
    """Encoder and decoder learn to fill gaps in text; the encoder is used for classification."""

    name = "transformer"
    tokenizers = ("TransformerTokenizer",)
    language_model_auto = "AutoModelForSeq2SeqLM"
    config_class = TransformerConfig
    encoder_class = TransformerModel
    language_model_class = TransformerForDenoising
    classifier_class = TransformerForSequenceClassification
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "width": 64,
            "feed_forward_width": 256,
            "num_heads": 2,
            "num_encoder_layers": 2,
            "num_decoder_layers": 1,
            "max_positions": 128,
        },
        "mini": {
            "width": 256,
            "feed_forward_width": 1024,
            "num_heads": 4,
            "num_encoder_layers": 4,
            "num_decoder_layers": 2,
            "max_positions": 256,
        },
        "base": {},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {
            "size": "mini",
            "tokenizer": "subword",
            "vocab_size": 8000,
            "epochs": 2,
            "batch_size": 32,
            "bptt": 64,
            "learning_rate": 1e-3,
            "discriminative_decay": 1.0,
            "schedule": "inverse-square-root",
            "sampled_softmax": 0,
            "optimizer": {"betas": (0.9, 0.98), "weight_decay": 1e-2, "gradient_clip": 1.0},
            "architecture": NEW,
        },
        "tune": {
            "epochs": 3,
            "batch_size": 32,
            "bptt": 64,
            "learning_rate": 3e-4,
            "discriminative_decay": 1.0,
            "schedule": "inverse-square-root",
            "sampled_softmax": 0,
            "optimizer": {"betas": (0.9, 0.98), "weight_decay": 1e-2, "gradient_clip": 1.0},
            "architecture": {"dropout": 0.1},
        },
        "finetune": {
            "lm_tuning": False,
            "epochs": 4,
            "batch_size": 32,
            "learning_rate": 5e-4,
            "discriminative_decay": 1.0,
            "gradual_unfreezing": False,
            "schedule": "linear",
            "optimizer": {"betas": (0.9, 0.98), "weight_decay": 1e-2, "gradient_clip": 1.0},
            "architecture": {"dropout": 0.1, "pooling": "concat"},
        },
        "freeze": {"lm_tuning": False, "batch_size": 32, "architecture": {"pooling": "concat"}},
    }

    def register(self) -> None:
        """What is pretrained maps a text to a text."""
        AutoConfig.register(TransformerConfig.model_type, TransformerConfig, exist_ok=True)
        AutoModel.register(TransformerConfig, TransformerModel, exist_ok=True)
        AutoModelForSeq2SeqLM.register(TransformerConfig, TransformerForDenoising, exist_ok=True)
        AutoModelForSequenceClassification.register(
            TransformerConfig, TransformerForSequenceClassification, exist_ok=True
        )
        AutoTokenizer.register(TransformerConfig, tokenizer_class=TransformerTokenizer, exist_ok=True)

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """As every family; a new vocabulary is one of subwords and holds all bytes.

        Raises:
            ConfigError: it is to be one of words.
        """
        super().check_new(size, kind, vocab_size, architecture)
        if kind != "subword":
            raise ConfigError(
                "a Transformer reads subwords", "tokenizer", "set it to subword, or leave it out"
            )
        check_subword_vocabulary(vocab_size, len(SPECIAL_TOKENS))

    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """Byte-level BPE."""
        return train_transformer_tokenizer(texts, vocab_size)

    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """A named size, for this tokenizer."""
        values = checked_architecture(TransformerConfig, {**self.named_size(size), **architecture})
        return TransformerConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            sep_token_id=tokenizer.sep_token_id,
            mask_token_id=tokenizer.mask_token_id,
            gap_token_ids=(SPECIAL_TOKENS.index(GAPS[0]), len(GAPS)),
            **values,
        )

    def windows(
        self,
        corpus: Corpus,
        rows: int,
        length: int,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
    ) -> DenoisingWindows:
        """Contiguous windows that know their number, none longer than the context."""
        assert isinstance(config, TransformerConfig)
        return DenoisingWindows(stream_windows(corpus.ids, rows, min(length, config.max_positions), False))

    def window_collate(
        self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, training: bool
    ) -> WindowCollate:
        """Windows with noise; of another kind in each pass, but always the same to measure with."""
        assert isinstance(config, TransformerConfig)

        def batch(windows: Sequence[Window]) -> dict[str, torch.Tensor]:
            return denoising_batch(windows, config, training=training)

        return batch

    def train_language_model(self, job: LanguageModelJob) -> TrainingResult:
        """By gradients; then what the best model writes into the gaps of held-out text is shown."""
        result = super().train_language_model(job)
        if processes.is_leader():
            self._show(job)
        return result

    def _show(self, job: LanguageModelJob) -> None:
        best = TransformerForDenoising.from_pretrained(job.plan.output / "model")
        torch.nn.Module.to(best, job.plan.device)  # transformers wraps `to`, and the annotation is lost
        batch = job.measure(
            [job.held_out.windows[item] for item in range(min(SHOWN, len(job.held_out.windows)))]
        )
        for line in shown_reconstructions(best, job.tokenizer, batch):
            job.reporter.note(line)

    def language_model_figures(
        self, model: LayeredModel, held_out: HeldOut, collate: WindowCollate, device: torch.device
    ) -> dict[str, float]:
        """The loss of what is reconstructed; bits per character would be of a part of the text alone."""
        figures = super().language_model_figures(model, held_out, collate, device)
        del figures["bits_per_character"]
        return figures

    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """The encoder of what was pretrained, and a new head."""
        (folder,) = language_models
        changes = checked_architecture(
            TransformerConfig, architecture, TransformerConfig.from_pretrained(folder)
        )
        # A classifier writes nothing: `pipeline` must not take it for a generator.
        config = TransformerConfig.from_pretrained(folder, is_encoder_decoder=False, **changes, **labels)
        model = TransformerForSequenceClassification(config)
        model.encoder.load_state_dict(TransformerModel.from_pretrained(folder).state_dict())
        return model
