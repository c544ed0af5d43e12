"""N-grams beside a trained classifier: which there are, what they say of the classes, how much they count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_expit
from torch import Tensor

from nlptl.nn.ngrams import NgramScores
from nlptl.nn.sequences import row_lengths
from nlptl.strategies.class_weights import weighted_loss
from nlptl.strategies.examples import Examples
from nlptl.strategies.folds import FEW, dealt_folds
from nlptl.training.batching import Encoding, padded
from nlptl.training.inference import length_batches
from nlptl.training.one_against_rest import OneAgainstRest
from nlptl.training.progress import Reporter

Candidate = tuple[bool, float]  # weighting by naive Bayes, inverse strength of the regularisation
CANDIDATES = ((False, 3.0), (False, 30.0), (False, 100.0), (True, 0.3), (True, 3.0), (True, 30.0))
FOLDS = 5
MOST_NGRAMS = 300_000  # the most frequent ones
MOST_WEIGHTS = 20_000_000  # each of an n-gram and a class
COUNTED = 5_000_000  # n-grams whose texts are counted at once, beyond which those of one text are forgotten
ONCE = 1000  # texts up to which an n-gram of one text is kept
TOKENS_AT_ONCE = 2**18  # padded ones; a longer text comes alone

# What the shares are before validation texts speak: the geometric mean of both. It weighs as much as about one text.
EQUAL = 0.5


def fit_ngrams(
    train: Examples,
    validation: Examples,
    logits: NDArray[np.float32],
    *,
    longest: int,
    spelling: Tensor | None,
    class_weights: Tensor | None,
    seed: int,
    reporter: Reporter,
) -> tuple[NgramScores, NDArray[np.float32], Candidate]:
    """Regressions on the n-grams of the training texts, and the shares of network and n-grams by the validation texts.

    The strength of the regularisation and the weighting are those of the least log loss on the validation texts, or,
    where these are few, on the training texts, cross-validated.

    Args:
        logits: of the trained network for the validation texts, (texts, classes).
        longest: tokens of the longest n-gram.
        spelling: (tokens, characters), with which pieces of characters count, too.
        class_weights: as `balanced_weights` gives them, or None.

    Returns:
        The n-grams, the logits of network and n-grams together for the validation texts, and what was chosen, for
        `learned_from_all`.
    """
    classes = logits.shape[1]
    scores = _of_texts(train.encodings, classes, longest, spelling)
    if not len(scores.keys):
        return scores, logits, CANDIDATES[0]
    features = [_features(scores, part.encodings, longest) for part in (train, validation)]
    labels = [part.labels.astype(np.int64) for part in (train, validation)]
    regressions = _Regressions(classes, labels[0].ndim == 2, class_weights)

    best: tuple[float, Candidate] = (math.inf, CANDIDATES[0])
    reporter.start("n-grams", len(CANDIDATES))
    try:
        for number, candidate in enumerate(CANDIDATES, start=1):
            total = sum(
                regressions.loss(regressions.fit(candidate, *known), *asked)
                for known, asked in _trials(features, labels, seed)
            )
            best = min(best, (total, candidate))
            reporter.advance(number, f"{len(scores.keys):,} n-grams")
    finally:
        reporter.finish()
    fitted = regressions.fit(best[1], features[0], labels[0])
    _put(scores, fitted)
    beside = regressions.scores(fitted, features[1])
    scores.shares = regressions.shares(logits, beside, labels[1])
    network, ngrams = scores.shares.numpy()
    return scores, (network * logits + ngrams * beside).astype(np.float32), best[1]


def learned_from_all(
    scores: NgramScores,
    candidate: Candidate,
    parts: Sequence[Examples],
    *,
    longest: int,
    class_weights: Tensor | None,
) -> NgramScores:
    """What `fit_ngrams` gave, its regressions fitted anew to all parts; the shares stay.

    The validation texts have said by then all that they are asked: what they know of the task is not thrown away.
    """
    encodings = [encoding for part in parts for encoding in part.encodings]
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    found = _of_texts(encodings, len(scores.bias), longest, scores.spelling)
    regressions = _Regressions(len(scores.bias), labels.ndim == 2, class_weights)
    _put(found, regressions.fit(candidate, _features(found, encodings, longest), labels))
    found.shares = scores.shares
    return found


def _of_texts(
    encodings: Sequence[Encoding], classes: int, longest: int, spelling: Tensor | None
) -> NgramScores:
    """The n-grams of some texts, without weights."""
    scores = NgramScores(0, classes)
    if spelling is not None:
        scores.spelling = spelling
    most = min(MOST_NGRAMS, MOST_WEIGHTS // classes)
    scores.keys, scores.rarity = _listed(scores, encodings, longest, most)
    return scores


def _put(scores: NgramScores, fitted: OneAgainstRest) -> None:
    scores.weight = torch.from_numpy(np.ascontiguousarray(fitted.weight.T))
    scores.bias = torch.from_numpy(fitted.bias).float()


def _listed(
    scores: NgramScores, encodings: Sequence[Encoding], longest: int, most: int
) -> tuple[Tensor, Tensor]:
    """Keys, ascending, and rarity of the n-grams that most texts have."""
    keys, texts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for _, batch in _batches(encodings):
        kinds = scores.found(batch["input_ids"], row_lengths(**batch), longest)
        found, rows = (torch.cat(parts).numpy() for parts in zip(*kinds, strict=True))
        order = np.lexsort((rows, found))
        found, rows = found[order], rows[order]
        first = np.ones(len(found), dtype=bool)  # of its text
        first[1:] = (found[1:] != found[:-1]) | (rows[1:] != rows[:-1])
        merged, places = np.unique(np.concatenate([keys, found[first]]), return_inverse=True)
        counts = np.concatenate([texts, np.ones(int(first.sum()), dtype=np.int64)])
        keys, texts = merged, np.bincount(places, weights=counts, minlength=len(merged)).astype(np.int64)
        if len(keys) > COUNTED:
            keys, texts = keys[texts > 1], texts[texts > 1]
    frequent = texts >= (1 if len(encodings) <= ONCE else 2)
    keys, texts = keys[frequent], texts[frequent]
    kept = np.sort(np.argsort(-texts, kind="stable")[:most])
    rarity = np.log((1 + len(encodings)) / (1 + texts[kept])) + 1
    return torch.from_numpy(keys[kept]), torch.from_numpy(rarity).float()


def _batches(encodings: Sequence[Encoding]) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
    """Row numbers, and these texts padded."""
    for rows in length_batches(encodings, len(encodings), TOKENS_AT_ONCE):
        yield np.array(rows), padded([encodings[row] for row in rows], 0)


def _features(scores: NgramScores, encodings: Sequence[Encoding], longest: int) -> sparse.csr_matrix:
    """(texts, n-grams) as the model will compute them."""
    found = []
    for numbers, batch in _batches(encodings):
        rows, places, values = scores.features(batch["input_ids"], row_lengths(**batch), longest)
        found.append((values.numpy(), numbers[rows.numpy()], places.numpy()))
    entries, of, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sparse.csr_matrix((entries, (of, columns)), shape=(len(encodings), len(scores.keys)))


Rows = tuple[sparse.csr_matrix, NDArray[np.int64]]


def _trials(
    features: Sequence[sparse.csr_matrix], labels: Sequence[NDArray[np.int64]], seed: int
) -> Iterator[tuple[Rows, Rows]]:
    """Rows to learn from, and rows to be measured on."""
    (x, x_validation), (y, y_validation) = features, labels
    if len(y_validation) >= FEW or len(y) < 2 * FOLDS:
        yield (x, y), (x_validation, y_validation)
        return
    fold = dealt_folds(y, FOLDS, seed)
    for number in range(FOLDS):
        yield (x[fold != number], y[fold != number]), (x[fold == number], y[fold == number])


class _Regressions:
    """Regressions for one list of classes, of which a text has one or `several`, and which may count differently."""

    def __init__(self, classes: int, several: bool, weights: Tensor | None) -> None:
        self.classes, self.several = classes, several
        self.weights = None if weights is None else weights.double().cpu()

    def fit(self, candidate: Candidate, x: sparse.csr_matrix, labels: NDArray[np.int64]) -> OneAgainstRest:
        inside = labels == 1 if self.several else labels[:, None] == np.arange(self.classes)
        counted = None
        if self.weights is not None:
            weights = self.weights.numpy()
            counted = np.where(inside, weights, 1.0) if self.several else weights[labels][:, None]
        if self.several or self.classes > 2:
            return OneAgainstRest(*candidate).fit(x, inside, counted)
        fitted = OneAgainstRest(*candidate).fit(x, inside[:, 1:], counted)  # the other class is its mirror
        fitted.weight = np.vstack([-fitted.weight, fitted.weight])
        fitted.bias = np.concatenate([-fitted.bias, fitted.bias])
        return fitted

    def scores(self, fitted: OneAgainstRest, x: sparse.csr_matrix) -> NDArray[np.float64]:
        """As the model adds them to a network's logits."""
        odds = fitted.log_odds(x)
        return odds if self.several else np.asarray(log_expit(odds))

    def loss(self, fitted: OneAgainstRest, x: sparse.csr_matrix, labels: NDArray[np.int64]) -> float:
        """Sum over the rows."""
        return self._loss(self.scores(fitted, x), labels)

    def shares(
        self, network: NDArray[np.float32], ngrams: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> Tensor:
        """How much each counts, (2,), neither less than nothing."""

        def loss(shares: NDArray[np.float64]) -> float:
            drawn = float(((shares - EQUAL) ** 2).sum())
            return drawn + self._loss(shares[0] * network + shares[1] * ngrams, labels)

        found = minimize(loss, [EQUAL, EQUAL], bounds=[(0.0, 20.0)] * 2, method="L-BFGS-B")
        return torch.tensor(found.x, dtype=torch.float32)

    def _loss(self, scores: NDArray[Any], labels: NDArray[np.int64]) -> float:
        measured = weighted_loss(torch.from_numpy(np.asarray(scores)), torch.from_numpy(labels), self.weights)
        return len(labels) * float(measured)
