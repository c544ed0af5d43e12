"""GPT (Radford et al. 2018) as a family: its sizes, its recipes, and how its parts are built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nlptl.errors import ConfigError
from nlptl.families.base import Family, ImportSettings, checked_architecture
from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.configuration import NATIVE, GptConfig
from nlptl.families.gpt.modeling import GptForCausalLM, GptModel
from nlptl.families.gpt.paper_tokenization import GptPaperTokenizer
from nlptl.families.gpt.tokenization import (
    SPECIAL_TOKENS,
    GptTokenizer,
    classifier_tokenizer,
    tokenization_note,
    train_gpt_tokenizer,
)
from nlptl.families.subword_tokenizer import check_subword_vocabulary
from nlptl.training.language_modeling import WindowStreams
from nlptl.training.models import LayeredClassifier
from nlptl.training.windows import Corpus

# A small model that reads its text about once is far from learning it by heart.
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
# The paper's, but for the attention weights, with whose dropout no kernel is fused.
DROPOUT = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.0}

NATIVE_CLASSES: Mapping[str, type[PreTrainedModel]] = {
    "OpenAIGPTModel": GptModel,
    "OpenAIGPTLMHeadModel": GptForCausalLM,
    "OpenAIGPTDoubleHeadsModel": GptForCausalLM,
    "OpenAIGPTForSequenceClassification": GptForSequenceClassification,
}


class GptFamily(Family):
    """Transformer decoders, fine-tuned as a whole with the language-model loss beside the task's."""

    name = "gpt"
    tokenizers = ("GptTokenizer", "GptPaperTokenizer", "OpenAIGPTTokenizer", "OpenAIGPTTokenizerFast")
    samples_softmax = True
    imports = ("openai",)
    config_class = GptConfig
    encoder_class = GptModel
    language_model_class = GptForCausalLM
    classifier_class = GptForSequenceClassification
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128},
        "mini": {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 256},
        "small": {"n_embd": 384, "n_layer": 6, "n_head": 6, "n_positions": 256},
        "base": {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 512},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {
            "size": "mini",
            "tokenizer": "subword",
            "vocab_size": 8000,
            "epochs": 2,
            "batch_size": 16,
            "bptt": 256,
            "learning_rate": 1e-3,
            "discriminative_decay": 1.0,
            "schedule": "cosine",
            "sampled_softmax": 1024,
            "optimizer": {"betas": (0.9, 0.98), "weight_decay": 1e-2, "gradient_clip": 1.0},
            "architecture": NO_DROPOUT,
        },
        "tune": {
            "epochs": 3,
            "batch_size": 16,
            "bptt": 256,
            "learning_rate": 2.5e-4,
            "discriminative_decay": 1.0,
            "schedule": "cosine",
            "sampled_softmax": 0,
            "optimizer": {"betas": (0.9, 0.98), "weight_decay": 1e-2, "gradient_clip": 1.0},
            "architecture": DROPOUT,
        },
        "finetune": {
            "lm_tuning": False,
            "epochs": 3,
            "batch_size": 32,
            "learning_rate": 6.25e-5,
            "discriminative_decay": 1.0,
            "gradual_unfreezing": False,
            "schedule": "linear-decay",
            "lm_weight": 0.5,
            "optimizer": {
                "name": "openai-adam",
                "betas": (0.9, 0.999),
                "weight_decay": 1e-2,
                "gradient_clip": 1.0,
            },
            "architecture": DROPOUT,
        },
        "freeze": {"lm_tuning": False, "batch_size": 32, "architecture": {"pooling": "concat"}},
    }

    def finetuning_recipe(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The paper's, with a rate for the width: what suits 768 is far too low for a small model.

        The rate goes with the inverse square of the width, up to 0.001: 6.25e-5 at 768, and 5.6e-4 at 256, where
        TREC's validation rows found 5e-4 and 1e-3 alike (0.876 and 0.881) and 2e-4 too low (0.857).
        """
        width = config.get("n_embd")
        recipe = self.recipes["finetune"]
        if not isinstance(width, int) or width < 1:
            return recipe
        rate = min(1e-3, recipe["learning_rate"] * (GptConfig.n_embd / width) ** 2)
        return {**recipe, "learning_rate": rate}

    def register(self) -> None:
        """Both tokenizers are known by the class name that their folder holds."""
        AutoConfig.register(GptConfig.model_type, GptConfig, exist_ok=True)
        AutoModel.register(GptConfig, GptModel, exist_ok=True)
        AutoModelForCausalLM.register(GptConfig, GptForCausalLM, exist_ok=True)
        AutoModelForSequenceClassification.register(GptConfig, GptForSequenceClassification, exist_ok=True)
        # One call each: given together, the second would be taken for the fast form of the first.
        for tokenizer_class in (GptPaperTokenizer, GptTokenizer):
            AutoTokenizer.register(GptConfig, tokenizer_class=tokenizer_class, exist_ok=True)

    def adopts(self, config: Mapping[str, Any]) -> bool:
        """Ours, and every native OpenAI GPT."""
        return config.get("model_type") in (GptConfig.model_type, NATIVE)

    def saved_class(self, config: Mapping[str, Any]) -> type[PreTrainedModel]:
        """Of a native model its counterpart here; of one with two heads the language model."""
        for name in config.get("architectures") or ():
            if name in NATIVE_CLASSES:
                return NATIVE_CLASSES[name]
        return super().saved_class(config)

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """As every family; a new vocabulary is one of subwords and holds all bytes.

        Raises:
            ConfigError: it is to be one of words.
        """
        super().check_new(size, kind, vocab_size, architecture)
        if kind != "subword":
            raise ConfigError("a GPT reads subwords", "tokenizer", "set it to subword, or leave it out")
        check_subword_vocabulary(vocab_size, len(SPECIAL_TOKENS))

    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """Byte-level BPE."""
        return train_gpt_tokenizer(texts, vocab_size)

    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """A named size, for this tokenizer."""
        values = checked_architecture(GptConfig, {**self.named_size(size), **architecture})
        return GptConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            **values,
        )

    def windows(
        self,
        corpus: Corpus,
        rows: int,
        length: int,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
    ) -> WindowStreams:
        """Contiguous windows without padding, none longer than the model's context."""
        assert isinstance(config, GptConfig)
        return super().windows(corpus, rows, min(length, config.n_positions), tokenizer, config)

    def classifier_tokenizer(
        self, tokenizer: PreTrainedTokenizerBase, architecture: Mapping[str, Any]
    ) -> PreTrainedTokenizerBase:
        """With the delimiter of a pair; with the start and extract tokens where the extract token is what is read."""
        pooling, head = (architecture.get(key, getattr(GptConfig, key)) for key in ("pooling", "head"))
        extract = pooling == "extract" and head != "bilstm-attention"
        return classifier_tokenizer(tokenizer, extract=extract)

    def tokenizer_note(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> str | None:
        """Whether the released vocabulary is used with another pre-tokenisation than it was trained with."""
        return tokenization_note(tokenizer, texts)

    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """The language model's encoder; the tokens that it has not been trained with get fresh embeddings."""
        (folder,) = language_models
        changes = checked_architecture(GptConfig, architecture, GptConfig.from_pretrained(folder))
        before: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        tokenizer = self.classifier_tokenizer(before, changes)
        config = GptConfig.from_pretrained(folder, **changes, **labels)
        config.new_tokens = max(0, len(tokenizer) - config.vocab_size)
        config.vocab_size += config.new_tokens
        config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
        config.delimiter_token_id, config.extract_token_id = tokenizer.sep_token_id, tokenizer.cls_token_id
        model = GptForSequenceClassification(config)
        source = GptModel.from_pretrained(folder)
        missing, unexpected = model.transformer.load_state_dict(source.state_dict(), strict=False)
        assert not unexpected and set(missing) <= {"new_embeddings.weight"}
        return model

    def convert(self, files: Mapping[str, Path], output: Path, settings: ImportSettings) -> dict[str, Any]:
        """OpenAI's release: ten files of numbers, their shapes, and the vocabulary."""
        from nlptl.families.gpt.conversion import import_release

        return import_release(files["directory"], output, settings.heads)
