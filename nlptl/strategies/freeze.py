"""Freeze: the language model as a fixed feature extractor under a fresh classifier."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nlptl import processes
from nlptl.strategies.examples import Examples
from nlptl.strategies.gradient_heads import (
    MLP,
    TOKEN_HEAD,
    DocumentVectors,
    FitPlan,
    HeadInput,
    LabelledInput,
    fit_heads,
)
from nlptl.strategies.logistic_head import fit_logistic
from nlptl.strategies.token_features import token_features
from nlptl.training.inference import in_order
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import Precision
from nlptl.training.progress import Reporter


def freeze(
    classifier: LayeredClassifier,
    train: Examples,
    validation: Examples,
    *,
    cached: tuple[Path, Path],
    precision: Precision,
    class_weights: Tensor | None,
    seed: int,
    reporter: Reporter,
) -> list[dict[str, float]]:
    """Compute the features of all texts once by the classifier's body, and train its heads alone on them.

    A linear head is fitted as a logistic regression, the others by gradients. How strongly each is regularised is
    chosen by the log loss on the validation texts, in which the weights of the classes count as in training. Of several
    processes each computes its share of the features, and the leader's classifier alone is trained.

    Args:
        cached: where the features of the training and of the validation texts are kept; the names have to tell model
            and texts, and get an ending here.
        class_weights: as `balanced_weights` gives them, or None.

    Returns:
        What was chosen, by head.

    Raises:
        RunFailed: the disk has no room for the features of tokens, or no loss was finite.
    """
    parts = (train, validation)
    labels = [part.labels.astype(np.int64) for part in parts]
    if classifier.reads_tokens:
        tokens = token_features(classifier, parts, precision, cached, reporter)
        return _fit_by_gradients(classifier, TOKEN_HEAD, tokens, labels, class_weights, seed, reporter)
    files = [file.with_name(f"{file.name}.npz") for file in cached]
    features = document_features(classifier, parts, precision, files, reporter)
    if all(isinstance(head, nn.Linear) for head in classifier.heads()):
        learnt, measured = zip(features, labels, strict=True)
        return processes.first(
            lambda: fit_logistic(
                classifier, learnt, measured, class_weights=class_weights, seed=seed, reporter=reporter
            )
        )
    vectors = [[DocumentVectors(x) for x in part] for part in features]
    return _fit_by_gradients(classifier, MLP, vectors, labels, class_weights, seed, reporter)


def document_features(
    classifier: LayeredClassifier,
    parts: Sequence[Examples],
    precision: Precision,
    cached: Sequence[Path],
    reporter: Reporter,
) -> list[list[NDArray[np.float32]]]:
    """Each document's vectors by the classifier's frozen body, computed once, those of all parts in the same batches.

    Args:
        cached: for each part a `.npz` file that is read where it exists and written otherwise; its name has to tell
            model and texts.

    Returns:
        Of each part one array (texts, width) for each head of the classifier; nothing where this process does not lead.
    """
    found = [_stored(file) if processes.is_leader() else None for file in cached]
    absent = processes.told([number for number, features in enumerate(found) if features is None])
    encodings = [encoding for number in absent for encoding in parts[number].encodings]
    if encodings:
        reporter.start("features", len(encodings))

    def represent(batch: dict[str, Tensor]) -> list[Tensor]:
        return classifier.represent(batch["input_ids"], batch["attention_mask"])

    def say(rows: int) -> None:
        reporter.advance(rows, f"{rows:,} texts")

    try:
        features = in_order(represent, classifier, encodings, precision, on_rows=say) if encodings else []
    finally:
        reporter.finish()
    start = 0
    for number in absent:
        rows = slice(start, start + len(parts[number]))
        own, start = [of_head[rows] for of_head in features], rows.stop
        processes.first(partial(_store, own, cached[number]))
        found[number] = own
    return [features or [] for features in found]


def _stored(cached: Path) -> list[NDArray[np.float32]] | None:
    """What a file holds; None of one that is absent or damaged, and is to be made anew."""
    with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile), np.load(cached) as stored:
        return [stored[name] for name in stored.files]
    return None


def _store(features: Sequence[NDArray[np.float32]], cached: Path) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_name(f".{cached.stem}-{os.getpid()}.npz")
    try:
        np.savez(partial, *features)
        os.replace(partial, cached)
    finally:
        partial.unlink(missing_ok=True)


def _fit_by_gradients(
    classifier: LayeredClassifier,
    plan: FitPlan,
    inputs: Sequence[Sequence[HeadInput]],
    labels: Sequence[NDArray[np.int64]],
    class_weights: Tensor | None,
    seed: int,
    reporter: Reporter,
) -> list[dict[str, float]]:
    train, validation = (
        [LabelledInput(head, of, class_weights) for head in part]
        for part, of in zip(inputs, labels, strict=True)
    )
    return processes.first(lambda: fit_heads(classifier, plan, train, validation, seed, reporter))
