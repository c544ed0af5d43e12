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

from nlptl.commands.invocation import Invocation
from nlptl.commands.plans import given, training_plan
from nlptl.config import FinetuneConfig
from nlptl.data.cache import cache_folder
from nlptl.families.base import Family
from nlptl.strategies.examples import Examples
from nlptl.strategies.finetune import balanced_weights, fine_tune
from nlptl.strategies.freeze import document_features, fit_logistic, fit_mlp
from nlptl.training.checkpoints import written_whole
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import inference_precision, resolve_device
from nlptl.training.trainers import peak_memory_mb

# Beginnings of the config's keys that say nothing of the features: the head's, and where the config was read from.
NOT_OF_THE_BODY = ("head", "problem_type", "_name_or_path")


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
    if config.strategy == "fine-tune":
        weight = {} if config.lm_weight is None else {"lm_weight": config.lm_weight}
        return {**config.architecture, **weight}
    return {**config.architecture, **family.head_architecture(config.head)}


def train_end_to_end(
    classifier: LayeredClassifier,
    tokenizer: PreTrainedTokenizerBase,
    train: Examples,
    validation: Examples,
    config: FinetuneConfig,
    language_models: list[Path],
    folder: Path,
    invocation: Invocation,
) -> Work:
    """Fine-tune: the whole model learns; the best epoch is in `folder / "model"`."""
    plan = training_plan("classifier", folder, config, config)

    def save(path: Path) -> None:
        classifier.save_pretrained(path)
        tokenizer.save_pretrained(path)

    result = fine_tune(
        classifier,
        train,
        validation,
        plan,
        batch_size=given(config.batch_size, "batch_size"),
        gradual_unfreezing=bool(config.gradual_unfreezing),
        class_weights=_class_weights(config, train, classifier, plan.device),
        save=save,
        reporter=invocation.reporter,
        resume=invocation.resume,
    )
    return Work(
        result.epochs, result.seconds, result.epochs * len(train), result.tokens, result.peak_memory_mb
    )


def train_on_frozen_features(
    classifier: LayeredClassifier,
    tokenizer: PreTrainedTokenizerBase,
    train: Examples,
    validation: Examples,
    config: FinetuneConfig,
    language_models: list[Path],
    folder: Path,
    invocation: Invocation,
) -> Work:
    """Freeze: features by the language models, computed once and kept in the cache, and a new head on them."""
    began = time.monotonic()
    device = resolve_device(config.device)
    torch.nn.Module.to(classifier, device)  # transformers wraps `to`, and the annotation is lost
    precision = inference_precision(config.precision, device)
    parts = []
    for examples in (train, validation):
        name = _features_name(language_models, classifier, examples, precision)
        cached = cache_folder("features") / f"{name}.npz"
        features = document_features(classifier, examples, precision, cached, invocation.reporter)
        parts.append((features, examples.labels.astype(np.int64)))
    if config.head == "logistic":
        chosen = fit_logistic(
            classifier, parts[0], parts[1], balanced=config.class_weight == "balanced", seed=config.seed
        )
    else:
        weights = _class_weights(config, train, classifier, device)
        chosen = fit_mlp(classifier, parts[0], parts[1], class_weights=weights, seed=config.seed)
    said = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in chosen.items())
    invocation.reporter.note(f"chosen on the validation texts: {said}")
    with written_whole(folder / "model") as path:
        classifier.save_pretrained(path)
        tokenizer.save_pretrained(path)
    tokens = sum(train.lengths)
    return Work(1.0, time.monotonic() - began, len(train), tokens, peak_memory_mb(device))


def _features_name(
    language_models: list[Path], classifier: LayeredClassifier, examples: Examples, precision: str
) -> str:
    """Of all that decides the features: the body's weights, how it pools, the ids, the precision; not the head."""
    digest = hashlib.sha256(precision.encode())
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


def _class_weights(
    config: FinetuneConfig, train: Examples, classifier: LayeredClassifier, device: torch.device
) -> Tensor | None:
    if config.class_weight == "none":
        return None
    return balanced_weights(train.labels.astype(np.int64), int(classifier.config.num_labels or 0)).to(device)
