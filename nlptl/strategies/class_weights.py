"""Classes that count differently: in the loss, and in the figures that a head or an epoch is chosen by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlptl.nn.classification_loss import classification_loss

LARGEST_LABEL_WEIGHT = 50.0  # a label that next to no text has must not drown the others


def balanced_weights(labels: NDArray[Any], classes: int) -> Tensor:
    """What the loss multiplies by so that rare classes count as much as others, (classes,).

    Of class numbers (texts,): weights in inverse proportion to how often each class occurs, 1 on average over the
    examples. Of zeros and ones (texts, classes): for each label the texts without it by those with it, within
    `LARGEST_LABEL_WEIGHT` either way, by which the loss of the texts that have it is to be multiplied.
    """
    if labels.ndim == 2:
        having = labels.sum(axis=0)
        ratio = (len(labels) - having) / np.maximum(having, 1)
        bounded = ratio.clip(1 / LARGEST_LABEL_WEIGHT, LARGEST_LABEL_WEIGHT)
        return torch.tensor(bounded, dtype=torch.float32)
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


def weighted_loss(scores: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Log loss in nats: the mean over the texts, each as heavy as its class.

    Args:
        scores: (texts, classes), before softmax, or before the sigmoid of each label.
        labels: (texts,) class numbers, or (texts, classes) of zeros and ones.
        weights: as `balanced_weights` gives them, or None.
    """
    problem = "multi_label_classification" if labels.dim() == 2 else "single_label_classification"
    return classification_loss(scores, labels, problem, weights)


def weighted_figures(
    probabilities: NDArray[np.float64], labels: NDArray[Any], weights: Tensor | None
) -> dict[str, float]:
    """Accuracy and log loss in which each class counts as it does in the loss that is trained on.

    Args:
        probabilities: (texts, classes).
        labels, weights: as for `weighted_loss`.

    Returns:
        `accuracy`, of several labels that of the whole set of a text, and `log_loss`; named `weighted_accuracy` and
        `weighted_log_loss` where there are weights.
    """
    floor = np.finfo(np.float32).tiny
    each = np.ones(labels.shape) if weights is None else _weights_of(labels, weights.double().cpu().numpy())
    if labels.ndim == 2:
        right = ((probabilities >= 0.5) == (labels > 0)).all(axis=1)
        chosen = np.where(labels > 0, probabilities, 1 - probabilities)
        losses, heaviness = -(each * np.log(chosen.clip(floor))), each.mean(axis=1)
        log_loss = losses.mean()
    else:
        right = probabilities.argmax(axis=1) == labels
        chosen = probabilities[np.arange(len(right)), labels]
        log_loss, heaviness = np.average(-np.log(chosen.clip(floor)), weights=each), each
    name = "" if weights is None else "weighted_"
    accuracy = np.average(right, weights=heaviness)
    return {f"{name}accuracy": float(accuracy), f"{name}log_loss": float(log_loss)}


def _weights_of(labels: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How heavy each text is, (texts,); of several labels each of its decisions, (texts, classes)."""
    if labels.ndim == 2:
        return np.where(labels > 0, weights, 1.0)
    each: NDArray[np.float64] = weights[labels]
    return each
