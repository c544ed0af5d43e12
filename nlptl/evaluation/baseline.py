"""TF-IDF with logistic regression: what a pretrained model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

INVERSE_REGULARISATION = (1.0, 3.0, 10.0, 30.0, 100.0)


def fit_tfidf(
    texts: Sequence[str],
    labels: NDArray[np.int64],
    validation_texts: Sequence[str],
    validation_labels: NDArray[np.int64],
    seed: int = 0,
) -> Pipeline:
    """Fit words and pairs of words, sublinear TF-IDF, logistic regression; its strength chosen on validation texts.

    Returns:
        A scikit-learn pipeline with `predict_proba`, its columns in the order of the class numbers in `labels`.
    """
    best: tuple[float, Pipeline] | None = None
    for strength in INVERSE_REGULARISATION:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode")
        model = make_pipeline(words, LogisticRegression(C=strength, max_iter=2000, random_state=seed))
        model.fit(texts, labels)
        accuracy = float(model.score(validation_texts, validation_labels))
        if best is None or accuracy > best[0]:
            best = (accuracy, model)
    assert best is not None
    return best[1]
