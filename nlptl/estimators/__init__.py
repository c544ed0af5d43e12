"""Estimators for scikit-learn: a classifier of texts, and their features for any other estimator."""

from nlptl.estimators.classifier import TextClassifier
from nlptl.estimators.features import TextFeatures

__all__ = ["TextClassifier", "TextFeatures"]
