"""`nlptl finetune`: language model -> tuned on the task's text -> classifier -> measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, set_seed

import nlptl.commands.run_folder as run_folder
from nlptl.commands.calibration import calibrate
from nlptl.commands.checks import check_training
from nlptl.commands.classifier_stage import (
    ClassifierStage,
    classifier_architecture,
    train_end_to_end,
    train_on_frozen_features,
)
from nlptl.commands.forecast import finetuning_forecast
from nlptl.commands.invocation import Invocation
from nlptl.commands.language_model_choice import chosen_language_models
from nlptl.commands.language_model_stage import tune_language_model
from nlptl.commands.model_card import classifier_card
from nlptl.commands.ngram_stage import add_ngrams, keep_ngrams
from nlptl.commands.output_lock import locks_released
from nlptl.commands.prediction import Classifier, load_classifier, measured
from nlptl.commands.tuning_text import tuning_text
from nlptl.config import FinetuneConfig, with_recipe
from nlptl.data.datasets import Columns, Task, encode_labels, load_task
from nlptl.data.encoding import check_max_length, encode_rows
from nlptl.errors import ConfigError, ModelError, UsageError
from nlptl.pretrained.models import ModelFolder
from nlptl.strategies.examples import Examples
from nlptl.training.progress import Reporter


@locks_released()
def finetune(config: FinetuneConfig, invocation: Invocation) -> dict[str, Any]:
    """Make a classifier from a language model and labelled texts, and measure it."""
    config, sources = resolved(config, invocation.reporter)
    family = sources[0].family
    task = load_task(
        _required(config.data, "--data"),
        validation=config.validation,
        test=config.test,
        columns=Columns(config.text_column, config.text_pair_column, config.label_column),
        limit=config.limit,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        offline=config.offline,
    )
    tokenizer = family.classifier_tokenizer(
        sources[0].load_tokenizer(), classifier_architecture(config, family)
    )
    check_max_length(tokenizer, config.max_length, pairs="text_pair" in task.train.column_names)
    if config.max_length is not None:
        tokenizer.model_max_length = config.max_length  # saved with the model, and what it reads from then on
    if invocation.dry_run:
        return finetuning_forecast(config, family, sources, task, tokenizer)

    folder = run_folder.open_run_folder(config.output, resume=invocation.resume, force=invocation.force)
    run_folder.begin_or_go_on(folder, config, _data_fingerprint(task, config), resume=invocation.resume)
    notes = list(task.notes)
    if config.strategy == "fine-tune" and not all(source.is_language_model for source in sources):
        notes.append(
            "the model came without a softmax: it is not tuned on the task's text as a language model first"
        )
    unlike = family.tokenizer_note(tokenizer, task.train.select(range(min(200, len(task.train))))["text"])
    if unlike is not None:
        notes.append(unlike)
    for note in notes:
        invocation.reporter.note(note)
    language_models = [
        _tuned(name, source, config, task, folder, invocation)
        for name, source in zip(("lm", "backward-lm"), sources, strict=False)
    ]
    train = _examples(task.train, task, tokenizer, config.max_length, "training texts", notes, invocation)
    validation = _examples(
        task.validation, task, tokenizer, config.max_length, "validation texts", notes, invocation
    )

    set_seed(config.seed)
    classifier = family.build_classifier(
        language_models, classifier_architecture(config, family), _label_config(task)
    )
    invocation.reporter.note(
        f"{family.name} classifier: {classifier.num_parameters():,} parameters, {len(train):,} training and "
        f"{len(validation):,} validation texts, {len(task.label_names)} classes"
    )
    stage = ClassifierStage(
        classifier, tokenizer, train, validation, config, language_models, folder, invocation
    )
    work = train_end_to_end(stage) if config.strategy == "fine-tune" else train_on_frozen_features(stage)

    final = load_classifier(str(folder / "model"), config)
    added: dict[str, Any] = {}
    ngrams = None
    if config.ngrams:
        added["ngrams"], note, ngrams = add_ngrams(final, stage)
        notes.append(note)
        invocation.reporter.note(note)
    if config.calibrate:
        added["calibration"], note = calibrate(final, folder / "model", task)
        notes.append(note)
        invocation.reporter.note(note)
    figures = {"validation": _measured(final, task.validation, task, "validation texts", notes, invocation)}
    if ngrams is not None:
        keep_ngrams(final, stage, ngrams)
    figures["test"] = _measured(final, task.test, task, "test texts", notes, invocation)
    report = {
        "output": str(folder),
        "model": str(folder / "model"),
        "family": family.name,
        "strategy": config.strategy,
        "labels": task.label_names,
        "train_examples": len(train),
        "epochs": work.epochs,
        "seconds": round(work.seconds, 2),
        "examples_per_second": round(work.examples / max(work.seconds, 1e-9), 1),
        "tokens_per_second": round(work.tokens / max(work.seconds, 1e-9), 1),
        "peak_memory_mb": round(work.peak_memory_mb, 1),
        **figures,
        **added,
    }
    run_folder.write_text(folder / "README.md", classifier_card(invocation.call, report, notes))
    run_folder.write_json(folder / "metrics.json", report)
    return report


def resolved(
    config: FinetuneConfig, reporter: Reporter | None = None
) -> tuple[FinetuneConfig, list[ModelFolder]]:
    """The config with its family's recipe filled in, and the language models; both checked, and no weight read.

    Raises:
        NlptlError: of a model, an option, the hardware, or the text to tune on.
    """
    sources = chosen_language_models(config, reporter)
    config = _with_recipes(_without_tuning_of_encoders(config, sources), sources[0])
    _check(config, sources)
    return config, sources


def _data_fingerprint(task: Task, config: FinetuneConfig) -> str:
    """Of every text and label that the run learns from or chooses by."""
    digest = hashlib.sha256(tuning_text(config).fingerprint().encode())
    for rows in (task.train, task.validation):
        for row in rows:
            digest.update(
                repr((row["text"], row.get("text_pair"), row["label"])).encode("utf-8", "backslashreplace")
            )
    return digest.hexdigest()[:24]


def _check(config: FinetuneConfig, sources: Sequence[ModelFolder]) -> None:
    """What the run will need after its first stage, looked at before that stage begins.

    Raises:
        NlptlError: of the hardware, the tracker, the text to tune on, or a key of an architecture.
    """
    if config.lm_tuning:
        sources[0].family.check_options(config.lm, config)
    check_training(config)
    tuning_text(config)
    for source in sources:
        source.load_tokenizer()
        source.check_changes(classifier_architecture(config, source.family))
        if config.lm_tuning:
            source.check_changes(config.lm.architecture)


def _without_tuning_of_encoders(config: FinetuneConfig, sources: Sequence[ModelFolder]) -> FinetuneConfig:
    """What was imported without its softmax cannot be tuned as a language model, and need not be.

    Raises:
        ModelError: that is asked for all the same.
    """
    if all(source.is_language_model for source in sources):
        return config
    if config.lm_text or config.lm_tuning:
        cause = "an encoder without a softmax, which cannot be tuned as a language model"
        raise ModelError(cause, str(config.model), "leave out --lm-text and --lm-tuning")
    return config.model_copy(update={"lm_tuning": False})


def _required(value: str | None, option: str) -> str:
    if value is None:
        raise UsageError(f"{option} is missing", "nlptl finetune", f"for example {option} reviews.csv")
    return value


def _with_recipes(config: FinetuneConfig, source: ModelFolder) -> FinetuneConfig:
    """The config with what the family's recipe says where the user says nothing.

    Raises:
        ConfigError: an option that contradicts another, or means nothing for this family.
    """
    family = source.family
    recipe = family.finetuning_recipe(source.config)
    if config.lm_text and config.lm_tuning is False:
        raise ConfigError(
            "text to tune on, and no tuning", "--lm-text with --no-lm-tuning", "leave one of them out"
        )
    if config.lm_weight is not None and "lm_weight" not in recipe:
        cause = f"{family.name} is fine-tuned without an auxiliary language-model loss"
        raise ConfigError(cause, "--lm-weight", "leave it out")
    if config.pair_symmetric and not hasattr(family.config_class, "pair_symmetric"):
        cause = f"{family.name} reads a pair of texts in one order"
        raise ConfigError(cause, "--pair-symmetric", "leave it out, or add each pair the other way round")
    if config.pair_symmetric and config.ngrams:
        cause = "n-grams are read in one order"
        raise ConfigError(cause, "--pair-symmetric with --ngrams", "leave one of them out")
    if config.lm_text and config.lm_tuning is None:
        config = config.model_copy(update={"lm_tuning": True})
    if config.strategy == "freeze":
        config = with_recipe(config, family.recipes["freeze"])
    config = with_recipe(config, recipe)
    return config.model_copy(update={"lm": with_recipe(config.lm, family.recipes["tune"])})


def _label_config(task: Task) -> dict[str, Any]:
    several = "multi_label_classification" if task.multi_label else "single_label_classification"
    return {
        "id2label": dict(enumerate(task.label_names)),
        "label2id": {name: number for number, name in enumerate(task.label_names)},
        "problem_type": several,
    }


def _tuned(
    name: str,
    source: ModelFolder,
    config: FinetuneConfig,
    task: Task,
    folder: Path,
    invocation: Invocation,
) -> Path:
    """The language model tuned on the task's text, or as it is where the run does without."""
    if not config.lm_tuning:
        return source.path
    return tune_language_model(
        name, folder / name, source, tuning_text(config, task.train), config, invocation
    )


def _examples(
    rows: Dataset,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    what: str,
    notes: list[str],
    invocation: Invocation,
) -> Examples:
    encoded = encode_rows(rows, tokenizer, max_length)
    note = encoded.note(what)
    if note is not None:
        notes.append(note)
        invocation.reporter.note(note)
    labelled, _ = encode_labels(rows, task.label_names)
    return Examples(list(encoded.encodings), np.asarray(labelled["label_id"]))


def _measured(
    final: Classifier, rows: Dataset | None, task: Task, what: str, notes: list[str], invocation: Invocation
) -> dict[str, Any] | None:
    if rows is None:
        return None
    labelled, _ = encode_labels(rows, task.label_names)
    encoded = final.encode(labelled)
    note = encoded.note(what)
    if note is not None and note not in notes:
        notes.append(note)
        invocation.reporter.note(note)
    return measured(final, labelled, encoded, invocation.reporter)[0]
