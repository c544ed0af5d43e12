"""TF-IDF with a linear model, as strong as it gets: what a pretrained model has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedKFold

from nlptl.training.one_against_rest import OneAgainstRest

# (pieces of words, weighting by naive Bayes, inverse strength of the regularisation)
CANDIDATES = (
    (False, False, 10.0),
    (False, False, 100.0),
    (False, True, 3.0),
    (False, True, 30.0),
    (True, False, 1.0),
    (True, False, 10.0),
    (True, True, 0.3),
    (True, True, 3.0),
)
FEW_ROWS = 500  # up to so many, the choice is by cross-validation over all of them
SHORT_TEXT = 400  # mean characters up to which pieces of words are tried; longer texts have words enough


class TfidfClassifier:
    """A linear classifier on the words of a text and their pairs, and perhaps on the pieces of its words.

    Each class is told from all others by logistic regression; the probabilities are scaled to sum to 1.

    Attributes:
        candidate: what was chosen of `CANDIDATES`.
    """

    def __init__(self) -> None:
        shared: dict[str, Any] = {"strip_accents": "unicode", "sublinear_tf": True, "dtype": np.float32}
        # A sign is a word of its own: a question mark or an exclamation mark says much of a short text.
        self._words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", **shared)
        self._pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared)
        self.candidate = CANDIDATES[0]

    def learn_vocabulary(self, texts: Sequence[str], *, pieces: bool) -> dict[bool, sparse.csr_matrix]:
        """(texts, features) of these texts: without and, where asked for, with the pieces of their words."""
        words = self._words.fit_transform(texts)
        if not pieces:
            return {False: words}
        return {False: words, True: _beside(words, self._pieces.fit_transform(texts))}

    def fit(self, features: sparse.csr_matrix, labels: NDArray[np.int64], classes: int) -> None:
        """Train one regression a class, of two classes one in all."""
        _, weighted, strength = self.candidate
        wanted = np.arange(classes) if classes > 2 else np.ones(1, dtype=np.int64)
        self._regression = OneAgainstRest(weighted, strength).fit(features, labels[:, None] == wanted)

    def scores(self, features: sparse.csr_matrix) -> NDArray[np.float64]:
        """(texts, classes) probabilities."""
        found: NDArray[np.float64] = expit(self._regression.log_odds(features))
        if found.shape[1] == 1:
            return np.hstack([1 - found, found])
        found /= found.sum(axis=1, keepdims=True)
        return found

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(texts, classes), in the order of the class numbers."""
        words = self._words.transform(texts)
        return self.scores(_beside(words, self._pieces.transform(texts)) if self.candidate[0] else words)


def fit_tfidf(
    texts: Sequence[str],
    labels: NDArray[np.int64],
    validation_texts: Sequence[str],
    validation_labels: NDArray[np.int64],
    seed: int = 0,
) -> TfidfClassifier:
    """Fit the baseline: weighting and strength by accuracy, on the validation texts or, of few rows, by
    cross-validation over all; then from all rows, the validation ones among them.

    Args:
        labels, validation_labels: class numbers.
        seed: of the folds.
    """
    everything = [*texts, *validation_texts]
    truth = np.concatenate([labels, validation_labels])
    classes = int(truth.max()) + 1
    model = TfidfClassifier()
    short = sum(map(len, everything)) <= SHORT_TEXT * len(everything)
    features = model.learn_vocabulary(everything, pieces=short)
    best, chosen = (-1, 0.0), model.candidate
    for candidate in CANDIDATES:
        if candidate[0] not in features:
            continue
        model.candidate, table = candidate, features[candidate[0]]
        right, likelihood = 0, 0.0
        for inside, outside in _folds(truth, len(labels), seed):
            model.fit(table[inside], truth[inside], classes)
            found = model.scores(table[outside])
            right += int((found.argmax(axis=1) == truth[outside]).sum())
            likelihood += float(np.log(found[np.arange(len(outside)), truth[outside]] + 1e-12).sum())
        if (right, likelihood) > best:
            best, chosen = (right, likelihood), candidate
    model.candidate = chosen
    model.fit(features[chosen[0]], truth, classes)
    return model


def _folds(
    labels: NDArray[np.int64], training: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Row numbers to train on and to choose by; the first `training` rows are the training rows."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(labels) > FEW_ROWS or counts.min() < 2:
        yield np.arange(training), np.arange(training, len(labels))
        return
    folds = StratifiedKFold(int(min(5, counts.min())), shuffle=True, random_state=seed)
    yield from folds.split(np.zeros(len(labels)), labels)


def _beside(words: sparse.csr_matrix, pieces: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(sparse.hstack([words, pieces]))
