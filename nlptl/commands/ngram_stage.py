"""`finetune --ngrams`: n-grams of tokens put beside a trained classifier, and saved with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlptl import processes
from nlptl.commands.classifier_stage import ClassifierStage
from nlptl.commands.prediction import Classifier
from nlptl.evaluation.calibration import tempered
from nlptl.evaluation.metrics import classification_metrics
from nlptl.nn.ngrams import SPELLED, NgramScores
from nlptl.strategies.ngrams import fit_ngrams, learned_from_all
from nlptl.training.inference import class_logits
from nlptl.training.models import LayeredClassifier

# Mean tokens of a text up to which the pieces of its words count; longer texts have words enough.
SHORT = 100
# How subwords tell where words begin or end: byte-level BPE, SentencePiece, and GPT's own.
WORD_BEGINS, WORD_ENDS = ("\u0120", "\u2581"), "</w>"


def add_ngrams(
    classifier: Classifier, stage: ClassifierStage
) -> tuple[dict[str, Any], str, NgramScores | None]:
    """Put n-grams beside the classifier that a stage has trained.

    Returns:
        For the report: `ngrams`, `longest`, `characters` (whether those of characters count, too), `shares`,
        `examples`, and `accuracy` and `log_loss` of the validation texts `before` and `after`; a sentence that says
        so; and the n-grams learned from the validation texts, too, which `keep_ngrams` takes in the end: until then
        the classifier can be measured on these texts.
    """
    model, train, validation, longest = classifier.model, stage.train, stage.validation, stage.config.ngrams
    assert isinstance(model, LayeredClassifier)
    # A run that was interrupted after this may have saved others.
    model.ngrams, model.config.ngrams, model.config.calibration_temperature = None, 0, 1.0
    short = sum(train.lengths) <= SHORT * len(train)
    spelling = (
        _spelling(classifier.tokenizer) if short and train.encodings[0]["input_ids"].ndim == 1 else None
    )
    before = class_logits(model, validation.encodings, classifier.precision, classifier.batch_size)
    weights = stage.class_weights(torch.device("cpu"))

    def fit() -> tuple[NgramScores, NDArray[np.float32], NgramScores | None]:
        found, after, candidate = fit_ngrams(
            train,
            validation,
            before,
            longest=longest,
            spelling=spelling,
            class_weights=weights,
            seed=stage.config.seed,
            reporter=stage.invocation.reporter,
        )
        if not len(found.keys):
            return found, after, None
        parts = (train, validation)
        return found, after, learned_from_all(found, candidate, parts, longest=longest, class_weights=weights)

    found, after, final = processes.first(fit)
    if final is not None:
        _put_beside(model, found, longest)
    measured = {
        name: classification_metrics(
            validation.labels.astype(np.int64),
            tempered(logits, 1.0, multi_label=classifier.multi_label),
            classifier.label_names,
            multi_label=classifier.multi_label,
        )
        for name, logits in (("before", before), ("after", after))
    }
    figures = {
        "ngrams": 0 if final is None else len(final.keys),
        "longest": longest,
        "characters": spelling is not None,
        "shares": [round(share, 4) for share in found.shares.tolist()],
        "examples": len(validation),
        **{name: {key: of[key] for key in ("accuracy", "log_loss")} for name, of in measured.items()},
    }
    return figures, _sentence(figures), final


def keep_ngrams(classifier: Classifier, stage: ClassifierStage, found: NgramScores) -> None:
    """Give the classifier these n-grams, and write both into the run's folder."""
    model = classifier.model
    assert isinstance(model, LayeredClassifier)
    _put_beside(model, found, stage.config.ngrams)
    processes.first(replace(stage, classifier=model).write)


def _put_beside(model: LayeredClassifier, found: NgramScores, longest: int) -> None:
    model.ngrams = found.to(model.device)
    model.config.ngrams, model.config.longest_ngram = len(found.keys), longest
    model.config.spelled_tokens = len(found.spelling)


def _spelling(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """The characters of each token, (tokens, characters). Where no token tells that a word begins or ends, each is a
    word and has a space before it."""
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    marked = any(name[:1] in WORD_BEGINS or name.endswith(WORD_ENDS) for name in names)
    codes = np.zeros((len(names), SPELLED), dtype=np.int64)
    for row, name in zip(codes, names, strict=True):
        spelled = [ord(character) for character in (name if marked else f" {name}")][:SPELLED]
        row[: len(spelled)] = spelled
    return torch.from_numpy(codes)


def _sentence(figures: dict[str, Any]) -> str:
    before, after = figures["before"], figures["after"]
    network, ngrams = figures["shares"]
    pieces = " and of 2 to 5 characters" if figures["characters"] else ""
    return (
        f"{figures['ngrams']:,} n-grams of up to {figures['longest']} tokens{pieces} are read beside the network, "
        f"whose logits count {network:.2f} times and theirs {ngrams:.2f} times, as suits the {figures['examples']:,} "
        f"validation texts: accuracy {before['accuracy']:.4f} -> {after['accuracy']:.4f}, log loss "
        f"{before['log_loss']:.4f} -> {after['log_loss']:.4f} there; then the n-grams learned from these texts, too"
    )
