"""The classifier's stage of `finetune`, by either strategy, on texts that are tokenised already."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlptl import processes
from nlptl.cache import cache_folder
from nlptl.commands.invocation import Invocation
from nlptl.commands.plans import given, training_plan
from nlptl.config import FinetuneConfig
from nlptl.families.base import Family
from nlptl.strategies.class_weights import balanced_weights
from nlptl.strategies.examples import Examples
from nlptl.strategies.finetune import fine_tune
from nlptl.strategies.freeze import freeze
from nlptl.training.checkpoints import written_whole
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import inference_precision, resolve_device
from nlptl.training.runs import peak_memory_mb
from nlptl.version import __version__

# Beginnings of the config's keys that say nothing of the features: the head's, and where the config was read from.
NOT_OF_THE_BODY = (
    "head",
    "problem_type",
    "calibration_temperature",
    "ngrams",
    "longest_ngram",
    "spelled_tokens",
    "_name_or_path",
)


@dataclass(frozen=True)
class ClassifierStage:
    """All that the stage takes, by either strategy.

    Attributes:
        language_models: folders that the classifier's body comes from.
        folder: the run's; the classifier is in its `model/` afterwards.
    """

    classifier: LayeredClassifier
    tokenizer: PreTrainedTokenizerBase
    train: Examples
    validation: Examples
    config: FinetuneConfig
    language_models: list[Path]
    folder: Path
    invocation: Invocation

    def save(self, path: Path) -> None:
        """Write the classifier with its tokenizer."""
        self.classifier.save_pretrained(path)
        self.tokenizer.save_pretrained(path)

    def write(self) -> None:
        """Put the classifier into the run's folder."""
        with written_whole(self.folder / "model") as path:
            self.save(path)

    def class_weights(self, device: torch.device) -> Tensor | None:
        """Weights of the classes in the loss, where they are asked for."""
        if self.config.class_weight == "none":
            return None
        classes = int(self.classifier.config.num_labels or 0)
        return balanced_weights(self.train.labels.astype(np.int64), classes).to(device)


@dataclass(frozen=True)
class Work:
    """How much the classifier's stage did, for the report."""

    epochs: float
    seconds: float
    examples: float
    tokens: int
    peak_memory_mb: float


def classifier_architecture(config: FinetuneConfig, family: Family) -> dict[str, Any]:
    """Keys of the model's config for this strategy: a frozen body gets the head asked for."""
    asked: dict[str, Any] = {"pair_symmetric": True} if config.pair_symmetric else {}
    if config.strategy == "fine-tune":
        if config.lm_weight is not None:
            asked["lm_weight"] = config.lm_weight
        return {**config.architecture, **asked}
    head = family.head_architecture(config.head)
    return {**head, **config.architecture, **asked, "head": head["head"]}


def train_end_to_end(stage: ClassifierStage) -> Work:
    """Fine-tune: the whole model learns; the best epoch is in `folder / "model"`."""
    config, invocation = stage.config, stage.invocation
    plan = training_plan("classifier", stage.folder, config, config)
    result = fine_tune(
        stage.classifier,
        stage.train,
        stage.validation,
        plan,
        batch_size=given(config.batch_size, "batch_size"),
        gradual_unfreezing=bool(config.gradual_unfreezing),
        class_weights=stage.class_weights(plan.device),
        save=stage.save,
        reporter=invocation.reporter,
        resume=invocation.resume,
    )
    examples = result.epochs * len(stage.train)
    return Work(result.epochs, result.seconds, examples, result.tokens, result.peak_memory_mb)


def train_on_frozen_features(stage: ClassifierStage) -> Work:
    """Freeze: features by the language models, computed once and kept in the cache, and a new head on them.

    The body reads the training texts once, which is the epoch reported, however often a head goes through the features.
    """
    began = time.monotonic()
    classifier, config, reporter = stage.classifier, stage.config, stage.invocation.reporter
    device = resolve_device(config.device)
    torch.nn.Module.to(classifier, device)  # transformers wraps `to`, and the annotation is lost
    precision = inference_precision(config.precision, device)
    names = (
        _features_name(stage.language_models, classifier, examples, precision)
        for examples in (stage.train, stage.validation)
    )
    train, validation = (cache_folder("features") / name for name in names)
    chosen = freeze(
        classifier,
        stage.train,
        stage.validation,
        cached=(train, validation),
        precision=precision,
        class_weights=stage.class_weights(device),
        seed=config.seed,
        reporter=reporter,
    )
    reporter.note(f"chosen on the validation texts: {_said(chosen)}")
    processes.first(stage.write)
    tokens = sum(stage.train.lengths)
    return Work(1.0, time.monotonic() - began, len(stage.train), tokens, peak_memory_mb(device))


def _said(chosen: list[dict[str, float]]) -> str:
    """What was chosen, for people: of each head where there are several."""
    heads = [
        ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in head.items()) for head in chosen
    ]
    return heads[0] if len(heads) == 1 else "; ".join(f"head {n}: {h}" for n, h in enumerate(heads, start=1))


def _features_name(
    language_models: list[Path], classifier: LayeredClassifier, examples: Examples, precision: str
) -> str:
    """Of all that decides the features: the body's weights, how it pools, the ids, the precision; not the head, but
    for whether it reads tokens."""
    kind = "tokens" if classifier.reads_tokens else "documents"
    digest = hashlib.sha256(
        f"{__version__} {precision} {kind}".encode()
    )  # another version may compute them otherwise
    for path in language_models:
        with open(path / "model.safetensors", "rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    facts = sorted(
        (key, value)
        for key, value in classifier.config.to_dict().items()
        if isinstance(value, (int, float, str)) and not key.startswith(NOT_OF_THE_BODY)
    )
    digest.update(repr(facts).encode())
    for encoding in examples.encodings:
        digest.update(np.ascontiguousarray(encoding["input_ids"]).tobytes() + b"|")
    return digest.hexdigest()[:32]
