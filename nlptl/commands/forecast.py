"""`--dry-run`: what a run would do, how long its texts are, and how much memory it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl.config import FinetuneConfig, PretrainConfig
from nlptl.data.datasets import Task
from nlptl.data.encoding import encode_rows
from nlptl.data.label_ids import as_list
from nlptl.data.lm_text import LmText
from nlptl.families.base import Family
from nlptl.pretrained.models import ModelFolder
from nlptl.training.trainers import peak_memory_mb

SAMPLE_TEXTS = 2000
SAMPLE_CHARACTERS = 2_000_000


def pretraining_forecast(
    config: PretrainConfig, family: Family, source: ModelFolder | None, text: LmText
) -> dict[str, Any]:
    """The plan of a `pretrain` run: tokens are counted on a sample of the text and scaled up."""
    sample: list[str] = []
    texts = characters = 0
    for item in text:
        if len(sample) < SAMPLE_TEXTS and characters < SAMPLE_CHARACTERS:
            sample.append(item)
        texts, characters = texts + 1, characters + len(item)
    if source is None:
        assert config.tokenizer is not None and config.vocab_size is not None and config.size is not None
        tokenizer = family.train_tokenizer(config.tokenizer, sample, config.vocab_size)
        model_config = family.build_config(config.size, tokenizer, config.backward, config.architecture)
        model_config.vocab_size = config.vocab_size
        model = family.language_model_class(model_config)
    else:
        tokenizer = source.load_tokenizer()
        model = family.load_language_model(source.path, config.architecture)
    lengths = np.array([len(ids) for ids in tokenizer(sample, verbose=False)["input_ids"]] or [0])
    scale = characters / max(1, sum(map(len, sample)))
    tokens = int(lengths.sum() * scale)
    assert config.batch_size is not None and config.bptt is not None and config.epochs is not None
    held_out = 0 if config.validation_text else tokens // 20
    steps = max(1, (tokens - held_out) // (config.batch_size * config.bptt)) * config.epochs
    return {
        "command": "pretrain",
        "family": family.name,
        "texts": texts,
        "characters": characters,
        "tokens": tokens,
        "text_lengths": length_distribution(lengths),
        "parameters": model.num_parameters(),
        "vocabulary": model.config.vocab_size,
        "steps": min(steps, config.max_steps or steps),
        "memory_mb": round(training_memory_mb(model, config.batch_size * config.bptt)),
    }


def finetuning_forecast(
    config: FinetuneConfig,
    family: Family,
    sources: Sequence[ModelFolder],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """The plan of a `finetune` run."""
    encoded = encode_rows(task.train, tokenizer, config.max_length)
    lengths = np.array([len(encoding["input_ids"]) for encoding in encoded.encodings])
    labels = {"id2label": dict(enumerate(task.label_names))}
    model = family.build_classifier([source.path for source in sources], config.architecture, labels)
    assert config.batch_size is not None and config.epochs is not None
    longest = np.sort(lengths)[-config.batch_size :].sum()
    return {
        "command": "finetune",
        "family": family.name,
        "strategy": config.strategy,
        "rows": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test or ())},
        "labels": dict(Counter(label for row in task.train["label"] for label in as_list(row))),
        "text_lengths": length_distribution(lengths),
        "truncated_texts": encoded.truncated_rows,
        "truncated_tokens": encoded.truncated_tokens,
        "parameters": model.num_parameters(),
        "steps": max(1, len(lengths) // config.batch_size) * config.epochs,
        "memory_mb": round(
            training_memory_mb(model, min(int(longest), getattr(model.config, "max_kept_tokens", longest)))
        ),
        "notes": list(task.notes),
    }


def length_distribution(lengths: np.ndarray) -> dict[str, float]:
    """Tokens a text: mean, median, 95th percentile and longest."""
    return {
        "mean": round(float(lengths.mean()), 1),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": int(lengths.max()),
    }


def training_memory_mb(model: PreTrainedModel, tokens: int) -> float:
    """A forecast: what this process holds already, weights with gradients and two moments, kept activations.

    An LSTM keeps about seven vectors of its width a token for the backward pass (four gates, cell, its tanh and
    output); dropout and the penalties keep about three more.
    """
    weights = 16 * model.num_parameters()
    widths = [module.hidden_size for module in model.modules() if isinstance(module, nn.LSTM)]
    activations = 4 * tokens * 10 * sum(widths)
    return peak_memory_mb(model.device) + (weights + activations) / 2**20
