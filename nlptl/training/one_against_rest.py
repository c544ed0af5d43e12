"""Logistic regressions on sparse features of texts, one a class, perhaps weighted by naive Bayes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

SMOOTHING = 0.1  # added to each class's sum of a feature
NEVER = -27.6  # log odds of a class without rows, or, turned round, of one that all rows have


@dataclass
class OneAgainstRest:
    """Each class is told from all others.

    Attributes:
        weighted: each feature is multiplied by its log ratio of class to others first (Wang and Manning 2012,
            "Baselines and Bigrams").
        strength: inverse strength of the regularisation.
        weight, bias: (classes, features) and (classes,), for the features as they are.
    """

    weighted: bool
    strength: float

    def fit(
        self,
        features: sparse.csr_matrix,
        classes: NDArray[np.bool_],
        row_weights: NDArray[np.float64] | None = None,
    ) -> Self:
        """Learn from rows.

        Args:
            features: (rows, features).
            classes: (rows, classes): whether a row has the class.
            row_weights: (rows, classes) or (rows, 1): how much a row counts.
        """
        weight = np.zeros((classes.shape[1], features.shape[1]), dtype=np.float32)
        bias = np.full(classes.shape[1], NEVER)
        for number, inside in enumerate(classes.T):
            if not 0 < inside.sum() < len(inside):
                bias[number] = -NEVER if inside.any() else NEVER
                continue
            scale = _log_ratio(features, inside) if self.weighted else None
            x = features if scale is None else features @ sparse.diags(scale)
            each = None if row_weights is None else row_weights[:, min(number, row_weights.shape[1] - 1)]
            found = self._solved(x, inside, each)
            weight[number] = found.coef_[0] if scale is None else found.coef_[0] * scale
            bias[number] = found.intercept_[0]
        self.weight, self.bias = weight, bias
        return self

    def _solved(
        self, x: sparse.csr_matrix, inside: NDArray[np.bool_], weights: NDArray[np.float64] | None
    ) -> LogisticRegression:
        # The solver goes through the rows at random, by a generator of its own.
        model = LogisticRegression(
            C=self.strength, solver="liblinear", dual=True, tol=1e-3, max_iter=1000, random_state=0
        )
        with warnings.catch_warnings():  # one that has not settled is judged by what it says, as others are
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, inside, weights)

    def log_odds(self, features: sparse.csr_matrix) -> NDArray[np.float64]:
        """(rows, classes) of each class against the rest."""
        odds: NDArray[np.float64] = np.asarray(features @ self.weight.T, dtype=np.float64) + self.bias
        return odds


def _log_ratio(features: sparse.csr_matrix, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(features,) log of each feature's share of the class to its share of the others."""
    of_class, of_others = (
        np.asarray(features[rows].sum(axis=0)).ravel() + SMOOTHING for rows in (inside, ~inside)
    )
    ratio = np.log(of_class / of_class.sum()) - np.log(of_others / of_others.sum())
    return np.asarray(ratio, dtype=np.float32)
