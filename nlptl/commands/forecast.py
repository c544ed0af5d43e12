"""`--dry-run`: what a run would do, how long its texts are, and how much memory it would take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from nlptl.commands.classifier_stage import classifier_architecture
from nlptl.commands.plans import given
from nlptl.commands.tuning_text import tuning_text
from nlptl.config import FinetuneConfig, LmTuningConfig, PretrainConfig
from nlptl.data.corpora import TokenCorpus, split_held_out
from nlptl.data.datasets import Task
from nlptl.data.encoding import encode_rows
from nlptl.data.label_ids import as_list
from nlptl.data.lm_text import LmText
from nlptl.families.base import Family
from nlptl.nn.softmax import sampled_memory_mb, softmax_memory_mb
from nlptl.pretrained.models import ModelFolder
from nlptl.training.batching import Encoding, LengthBuckets, padded
from nlptl.training.memory import training_memory_mb
from nlptl.training.precision import Precision, product_type, training_precision
from nlptl.training.runs import peak_memory_mb

SAMPLE_TEXTS = 2000
SAMPLE_CHARACTERS = 2_000_000
MEASURED_TOKENS = 8192  # of the longest text: gradients flow through no more of its end in any family


@dataclass(frozen=True)
class ReadText:
    """What a pass over the text of a language model found.

    Attributes:
        texts, characters: how many there are in all.
        sample: the first texts, the last of them perhaps cut.
    """

    texts: int
    characters: int
    sample: list[str]

    def token_counts(self, family: Family, tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, int]:
        """Tokens of each sampled text, and of all texts at the sample's rate."""
        encoded = family.corpus_encoder(tokenizer).encode(self.sample)
        lengths = np.array([len(ids) for ids in encoded] or [0])
        return lengths, int(lengths.sum() * self.characters / max(1, sum(map(len, self.sample))))


def pretraining_forecast(
    config: PretrainConfig, family: Family, source: ModelFolder | None, text: LmText
) -> dict[str, Any]:
    """The plan of a `pretrain` run: tokens are counted on a sample of the text and scaled up.

    Texts, characters and tokens are those trained on, without those held out.
    """
    read = _read(text if config.validation_text else split_held_out(text, held_out=False))
    if source is None:
        assert config.tokenizer is not None and config.vocab_size is not None and config.size is not None
        tokenizer = family.train_tokenizer(config.tokenizer, read.sample, config.vocab_size)
        model_config = family.build_config(config.size, tokenizer, config.backward, config.architecture)
        model_config.vocab_size = config.vocab_size
        model = family.language_model_class(model_config)
    else:
        tokenizer = source.load_tokenizer()
        model = family.load_language_model(source.path, config.architecture)
    lengths, tokens = read.token_counts(family, tokenizer)
    stage = _language_model_stage(config, family, tokenizer, model.config, tokens)
    assert config.batch_size is not None and config.bptt is not None
    return {
        "command": "pretrain",
        "family": family.name,
        "texts": read.texts,
        "characters": read.characters,
        "tokens": tokens,
        "text_lengths": length_distribution(lengths),
        "parameters": model.num_parameters(),
        "vocabulary": model.config.vocab_size,
        "steps": min(stage["steps"], config.max_steps or stage["steps"]),
        "memory_mb": round(_language_model_memory(config, family, tokenizer, model)),
    }


def finetuning_forecast(
    config: FinetuneConfig,
    family: Family,
    sources: Sequence[ModelFolder],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """The plan of a `finetune` run; of a frozen body no step is trained, and the head is fitted on its vectors."""
    encoded = encode_rows(task.train, tokenizer, config.max_length)
    lengths = np.array([len(encoding["input_ids"]) for encoding in encoded.encodings])
    labels = {"id2label": dict(enumerate(task.label_names))}
    architecture = classifier_architecture(config, family)
    model = family.build_classifier([source.path for source in sources], architecture, labels)
    frozen = config.strategy == "freeze"
    assert config.batch_size is not None and (frozen or config.epochs is not None)
    epochs = 0 if frozen else config.epochs or 0
    memory = peak_memory_mb(model.device)
    if not frozen:
        memory = _classifier_memory(config, model, encoded.encodings[int(lengths.argmax())])
    plan: dict[str, Any] = {
        "command": "finetune",
        "family": family.name,
        "strategy": config.strategy,
        **({"head": config.head} if frozen else {}),
        "rows": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test or ())},
        "labels": dict(Counter(label for row in task.train["label"] for label in as_list(row))),
        "text_lengths": length_distribution(lengths),
        "truncated_texts": encoded.truncated_rows,
        "truncated_tokens": encoded.truncated_tokens,
        "parameters": model.num_parameters(),
        "steps": len(LengthBuckets(lengths.tolist(), config.batch_size, config.seed)) * epochs,
        "memory_mb": round(memory),
        "notes": list(task.notes),
    }
    if config.lm_tuning:
        read = _read(split_held_out(tuning_text(config, task.train), held_out=False))
        _, tokens = read.token_counts(family, tokenizer)
        model_config = family.config_class.from_pretrained(sources[0].path)
        stage = _language_model_stage(config.lm, family, tokenizer, model_config, tokens)
        plan["language_model_tuning"] = {"models": len(sources), **stage}
    return plan


def _read(texts: Iterable[str]) -> ReadText:
    sample: list[str] = []
    count = characters = sampled = 0
    for text in texts:
        if len(sample) < SAMPLE_TEXTS and sampled < SAMPLE_CHARACTERS:
            sample.append(text[: SAMPLE_CHARACTERS - sampled])
            sampled += len(sample[-1])
        count, characters = count + 1, characters + len(text)
    return ReadText(count, characters, sample)


def _language_model_stage(
    config: PretrainConfig | LmTuningConfig,
    family: Family,
    tokenizer: PreTrainedTokenizerBase,
    model_config: PreTrainedConfig,
    tokens: int,
) -> dict[str, int]:
    """Tokens that a language model is trained on, the windows they make, and the steps of all epochs."""
    assert config.batch_size is not None and config.bptt is not None and config.epochs is not None
    ids = np.broadcast_to(np.zeros(1, dtype=np.uint16), (max(2, tokens),))  # as many as that, and no memory
    corpus = TokenCorpus(ids, texts=0, characters=0)
    windows = family.windows(corpus, config.batch_size, config.bptt, tokenizer, model_config)
    steps = math.ceil(len(windows) / windows.rows) * config.epochs
    return {"tokens": tokens, "windows": len(windows), "steps": steps}


def length_distribution(lengths: np.ndarray) -> dict[str, float]:
    """Tokens a text: mean, median, 95th percentile and longest."""
    return {
        "mean": round(float(lengths.mean()), 1),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": int(lengths.max()),
    }


def _language_model_memory(
    config: PretrainConfig, family: Family, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> float:
    """MiB at the peak of pretraining; what draws candidates or makes logits in parts is reckoned apart."""
    if not family.predicts_tokens:  # its own training holds two matrices as large
        return peak_memory_mb(model.device) + 8 * model.num_parameters() / 2**20
    rows, length = given(config.batch_size, "batch_size"), given(config.bptt, "bptt")
    words = family.corpus_encoder(tokenizer).vocabulary
    collate = family.window_collate(model.config, tokenizer, training=True)
    random = np.random.default_rng(0)

    def batch(count: int) -> dict[str, Any]:
        ids = random.integers(words, size=count * (length + 1) + 1, dtype=np.uint32)
        corpus = TokenCorpus(ids, texts=0, characters=0)
        windows = family.windows(corpus, count, length, tokenizer, model.config)
        return collate([windows[row] for row in range(count)])

    precision = training_precision(config.precision, model.device)
    if config.sampled_softmax:
        softmax = sampled_memory_mb(rows * length, config.sampled_softmax)
    else:
        softmax = _softmax_memory(model, rows * length, precision)
    return training_memory_mb(model, batch, rows, precision) + softmax


def _classifier_memory(config: FinetuneConfig, model: PreTrainedModel, longest: Encoding) -> float:
    """MiB at the peak of fine-tuning, met in a batch with the longest text."""
    longest = {key: values[-MEASURED_TOKENS:] for key, values in longest.items()}
    rows, length = given(config.batch_size, "batch_size"), len(longest["input_ids"])
    several = model.config.problem_type == "multi_label_classification"
    label = np.zeros(int(model.config.num_labels or 0), dtype=np.float32) if several else np.int64(0)
    if rows * length > getattr(model.config, "max_kept_tokens", math.inf):
        model.config.max_kept_tokens = 1  # so will the batches to come be, of which this one is a part

    def batch(count: int) -> dict[str, Any]:
        return padded([{**longest, "labels": label}] * count, model.config.pad_token_id or 0)

    precision = training_precision(config.precision, model.device)
    memory = training_memory_mb(model, batch, rows, precision)
    if getattr(model.config, "lm_weight", 0.0):
        memory += _softmax_memory(model, rows * length, precision)
    return memory


def _softmax_memory(model: PreTrainedModel, tokens: int, precision: Precision) -> float:
    """MiB on the way to the loss of so many tokens over the whole vocabulary."""
    return softmax_memory_mb(tokens, model.config.vocab_size, product_type(precision), model.device)
