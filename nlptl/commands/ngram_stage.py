"""`finetune --ngrams`: n-grams of tokens put beside a trained classifier, and saved with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlptl import processes
from nlptl.commands.prediction import Classifier
from nlptl.evaluation.calibration import tempered
from nlptl.evaluation.metrics import classification_metrics
from nlptl.strategies.class_weights import balanced_weights
from nlptl.strategies.examples import Examples
from nlptl.strategies.ngrams import fit_ngrams
from nlptl.training.checkpoints import written_whole
from nlptl.training.inference import class_logits
from nlptl.training.models import LayeredClassifier
from nlptl.training.progress import Reporter


def add_ngrams(
    classifier: Classifier,
    folder: Path,
    train: Examples,
    validation: Examples,
    *,
    longest: int,
    balanced: bool,
    seed: int,
    reporter: Reporter,
) -> tuple[dict[str, Any], str]:
    """Fit n-grams of up to `longest` tokens, and write the classifier with them into its folder.

    Args:
        balanced: rare classes count as much as frequent ones.

    Returns:
        For the report: `ngrams`, `longest`, `shares`, `examples`, and `accuracy` and `log_loss` of the validation texts
        `before` and `after`; and a sentence that says so.
    """
    model = classifier.model
    assert isinstance(model, LayeredClassifier)
    # A run that was interrupted after this may have saved others.
    model.ngrams, model.config.ngrams, model.config.calibration_temperature = None, 0, 1.0
    labels = validation.labels.astype(np.int64)

    def logits() -> NDArray[np.float32]:
        return class_logits(model, validation.encodings, classifier.precision, classifier.batch_size)

    before = logits()
    weights = balanced_weights(train.labels.astype(np.int64), before.shape[1]) if balanced else None
    found = processes.first(
        lambda: fit_ngrams(
            train, validation, before, longest=longest, class_weights=weights, seed=seed, reporter=reporter
        )
    )
    if len(found.keys):
        model.ngrams = found.to(model.device)
        model.config.ngrams, model.config.longest_ngram = len(found.keys), longest
        processes.first(lambda: _write(classifier, folder))
    measured = {
        name: classification_metrics(
            labels,
            tempered(scores, 1.0, multi_label=classifier.multi_label),
            classifier.label_names,
            multi_label=classifier.multi_label,
        )
        for name, scores in (("before", before), ("after", logits()))
    }
    figures = {
        "ngrams": len(found.keys),
        "longest": longest,
        "shares": [round(share, 4) for share in found.shares.tolist()],
        "examples": len(validation),
        **{name: {key: of[key] for key in ("accuracy", "log_loss")} for name, of in measured.items()},
    }
    return figures, _sentence(figures)


def _write(classifier: Classifier, folder: Path) -> None:
    with written_whole(folder) as path:
        classifier.model.save_pretrained(path)
        classifier.tokenizer.save_pretrained(path)


def _sentence(figures: dict[str, Any]) -> str:
    before, after = figures["before"], figures["after"]
    network, ngrams = figures["shares"]
    return (
        f"{figures['ngrams']:,} n-grams of up to {figures['longest']} tokens are read beside the network, whose logits "
        f"count {network:.2f} times and theirs {ngrams:.2f} times, as suits the {figures['examples']:,} validation "
        f"texts: accuracy {before['accuracy']:.4f} -> {after['accuracy']:.4f}, log loss {before['log_loss']:.4f} -> "
        f"{after['log_loss']:.4f} there"
    )
