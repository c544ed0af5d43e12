"""ULMFiT (Howard & Ruder 2018) as a family: its sizes, its recipes, and how its parts are built."""

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

from nlptl.errors import ModelError
from nlptl.families.base import Family, ImportSettings, checked_architecture
from nlptl.families.restricted_pickle import read_tensors
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.conversion import (
    check_vocabulary,
    checkpoint_kind,
    convert_classifier,
    convert_language_model,
    read_vocabulary,
)
from nlptl.families.ulmfit.modeling import UlmfitForCausalLM, UlmfitModel
from nlptl.families.ulmfit.tokenization import (
    UlmfitTokenizer,
    UlmfitWordTokenizer,
    check_vocabulary_size,
    train_subword_tokenizer,
    train_word_tokenizer,
)
from nlptl.training.models import LayeredClassifier, LayeredModel

PRETRAINING_DROPOUTS = {
    # half of the language model's dropouts, as the authors' pretraining script has them
    "input_dropout": 0.125,
    "hidden_layer_dropout": 0.075,
    "output_dropout": 0.05,
    "embedding_dropout": 0.01,
    "weight_dropout": 0.1,
    "activation_penalty": 2.0,
    "temporal_activation_penalty": 1.0,
}
TUNING_DROPOUTS = {
    "input_dropout": 0.25,
    "hidden_layer_dropout": 0.15,
    "output_dropout": 0.1,
    "embedding_dropout": 0.02,
    "weight_dropout": 0.2,
    "activation_penalty": 2.0,
    "temporal_activation_penalty": 1.0,
}
CLASSIFIER_DROPOUTS = {
    "input_dropout": 0.4,
    "hidden_layer_dropout": 0.3,
    "output_dropout": 0.4,
    "embedding_dropout": 0.05,
    "weight_dropout": 0.5,
    "activation_penalty": 2.0,
    "temporal_activation_penalty": 1.0,
}


class UlmfitFamily(Family):
    """AWD-LSTM language models, tuned on the task's text, with a classifier that unfreezes gradually."""

    name = "ulmfit"
    tokenizers = ("UlmfitTokenizer", "UlmfitWordTokenizer")
    reads_backward = True
    samples_softmax = True
    imports = ("fastai",)
    config_class = UlmfitConfig
    encoder_class = UlmfitModel
    language_model_class = UlmfitForCausalLM
    classifier_class = UlmfitForSequenceClassification
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 64, "hidden_size": 128, "num_layers": 2},
        "mini": {"embedding_size": 256, "hidden_size": 640, "num_layers": 2},
        "small": {"embedding_size": 256, "hidden_size": 640, "num_layers": 3},
        "base": {"embedding_size": 400, "hidden_size": 1152, "num_layers": 3},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {
            "size": "mini",
            "tokenizer": "subword",
            "vocab_size": 8000,
            "epochs": 4,
            "batch_size": 128,
            "bptt": 64,
            "learning_rate": 3e-3,
            "discriminative_decay": 1.0,
            "schedule": "slanted-triangular",
            "sampled_softmax": 1024,
            "optimizer": {"betas": (0.8, 0.99), "weight_decay": 1e-3, "gradient_clip": 0.3},
            "architecture": PRETRAINING_DROPOUTS,
        },
        "tune": {
            "epochs": 5,
            "batch_size": 64,
            "bptt": 70,
            "learning_rate": 4e-3,
            "discriminative_decay": 2.6,
            "schedule": "slanted-triangular",
            "sampled_softmax": 0,
            "optimizer": {"betas": (0.8, 0.99), "weight_decay": 1e-7, "gradient_clip": 0.3},
            "architecture": TUNING_DROPOUTS,
        },
        "finetune": {
            "lm_tuning": True,
            "epochs": 20,
            "batch_size": 32,
            "learning_rate": 1e-2,
            "discriminative_decay": 2.6,
            "gradual_unfreezing": True,
            "schedule": "slanted-triangular",
            "optimizer": {"betas": (0.8, 0.99), "weight_decay": 1e-6, "gradient_clip": 25.0},
            "architecture": CLASSIFIER_DROPOUTS,
        },
        "freeze": {"lm_tuning": False, "batch_size": 32},
    }

    def register(self) -> None:
        """Both tokenizers are known by the class name that their folder holds."""
        AutoConfig.register(UlmfitConfig.model_type, UlmfitConfig, exist_ok=True)
        AutoModel.register(UlmfitConfig, UlmfitModel, exist_ok=True)
        AutoModelForCausalLM.register(UlmfitConfig, UlmfitForCausalLM, exist_ok=True)
        AutoModelForSequenceClassification.register(
            UlmfitConfig, UlmfitForSequenceClassification, exist_ok=True
        )
        # One call each: given together, the second would be taken for the fast form of the first.
        for tokenizer_class in (UlmfitWordTokenizer, UlmfitTokenizer):
            AutoTokenizer.register(UlmfitConfig, tokenizer_class=tokenizer_class, exist_ok=True)

    def check_new(self, size: str, kind: str, vocab_size: int, architecture: Mapping[str, Any]) -> None:
        """As every family, and a subword vocabulary holds all bytes."""
        super().check_new(size, kind, vocab_size, architecture)
        if kind == "subword":
            check_vocabulary_size(vocab_size)

    def train_tokenizer(
        self,
        kind: str,
        texts: Iterable[str],
        vocab_size: int,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> PreTrainedTokenizerBase:
        """`subword`: byte-level BPE; `word`: fastai's words and rules."""
        if kind == "word":
            return train_word_tokenizer(texts, vocab_size, on_note=on_note)
        return train_subword_tokenizer(texts, vocab_size)

    def build_config(
        self, size: str, tokenizer: PreTrainedTokenizerBase, backward: bool, architecture: Mapping[str, Any]
    ) -> PreTrainedConfig:
        """A named size, for this tokenizer and direction."""
        values = {**self.named_size(size), **checked_architecture(UlmfitConfig, architecture)}
        return UlmfitConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            direction="backward" if backward else "forward",
            **values,
        )

    def prepare_new(self, model: LayeredModel, counts: Tensor) -> None:
        """Start from the words' frequencies: a tied softmax with a zero bias saturates before it finds them."""
        assert isinstance(model, UlmfitForCausalLM)
        model.start_from_frequencies(counts)

    def build_classifier(
        self, language_models: Sequence[Path], architecture: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> LayeredClassifier:
        """One direction, or a forward and a backward language model over one vocabulary."""
        changes = checked_architecture(UlmfitConfig, architecture)
        config = UlmfitConfig.from_pretrained(
            language_models[0], bidirectional=len(language_models) == 2, **changes, **labels
        )
        model = UlmfitForSequenceClassification(config)
        for (encoder, _), folder in zip(model.directions(), language_models, strict=True):
            source = UlmfitModel.from_pretrained(folder)
            if [p.shape for p in source.parameters()] != [p.shape for p in encoder.parameters()]:
                raise ModelError(
                    "layers of other sizes than the forward language model's",
                    str(folder),
                    "pretrain both with the same --size and --vocab-size",
                )
            encoder.load_state_dict(source.state_dict())
        return model

    def head_architecture(self, head: str) -> dict[str, Any]:
        """Document vectors of a frozen model are the means of its embedding and of every layer, side by side.

        On 100 and 1,000 training rows, with `ulmfit-mini`, against [last, max, mean] of the last layer as in
        fine-tuning: IMDb 0.721 and 0.815 against 0.708 and 0.785, TREC-6 0.547 and 0.740 against 0.522 and 0.690.
        """
        keys = super().head_architecture(head)
        return keys if head == "bilstm-attention" else {**keys, "layers": "all", "pooling": "mean"}

    def convert(self, files: Mapping[str, Path], output: Path, settings: ImportSettings) -> dict[str, Any]:
        """fastai's `.pth` or `.h5` and `itos` files, of all three layouts; classifiers too."""
        tensors = read_tensors(files["weights"])
        where = f"in {files['weights']}"
        kind = checkpoint_kind(tensors)
        if kind == "encoder":
            raise ModelError(
                "an encoder without its softmax", where, "import the language model that it was cut from"
            )
        convert = convert_language_model if kind == "language model" else convert_classifier
        checkpoint = convert(tensors, where)
        known = {key: value for key, value in checkpoint.architecture.items() if hasattr(UlmfitConfig, key)}
        config = UlmfitConfig(direction="backward" if settings.backward else "forward", **known)
        config.num_labels = checkpoint.architecture.get("num_labels", 2)
        model_class = UlmfitForCausalLM if kind == "language model" else UlmfitForSequenceClassification
        notes = []
        if "vocab" in files:
            words = read_vocabulary(files["vocab"])
            check_vocabulary(
                words, checkpoint.state_dict["encoder.embedding.weight"], where=f"in {files['vocab']}"
            )
            tokenizer = UlmfitWordTokenizer(vocab=words)
            tokenizer.save_pretrained(output)
            config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
        else:
            notes.append(
                "no --vocab was given: the model has no tokenizer and cannot be trained or read text with"
            )
        model = model_class(config)
        tied = ["lm_head.weight"] if config.tie_word_embeddings and kind == "language model" else []
        missing, unexpected = model.load_state_dict(checkpoint.state_dict, strict=False)
        if unexpected or [key for key in missing if key not in tied]:
            raise ModelError(
                f"keys that do not fit: {', '.join([*missing, *unexpected][:5])}", where, "use its original"
            )
        model.save_pretrained(output)
        notes.append(f"{checkpoint.layout} layout, a {kind}")
        return {
            "parameters": model.num_parameters(),
            "vocabulary": config.vocab_size,
            "ignored_keys": checkpoint.ignored_keys,
            "notes": notes,
        }
