"""Document vectors with labels that they tell in part, and what a model says of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification

Part = tuple[list[NDArray[np.float32]], NDArray[np.int64]]


def labelled_vectors(classes: int, heads: int = 1) -> tuple[Part, Part]:
    """Features of very different scales, (60, 12) and (20, 12), and labels that they tell in part."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(classes, 12))
    made = []
    for count in (60, 20):
        labels = np.arange(count) % classes
        features = [
            ((centres[labels] + random.normal(size=(count, 12)) + 2) * np.logspace(-3, 3, 12)).astype(
                np.float32
            )
            for _ in range(heads)
        ]
        made.append((features, labels.astype(np.int64)))
    return made[0], made[1]


def by_model(
    model: UlmfitForSequenceClassification, features: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Probabilities of the classes, (texts, classes), of document vectors."""
    with torch.inference_mode():
        logits = model.classify([torch.from_numpy(x) for x in features])
    several = model.config.problem_type == "multi_label_classification"
    probabilities: NDArray[np.float32] = (logits.sigmoid() if several else logits.softmax(1)).numpy()
    return probabilities


def several_labels() -> NDArray[np.int64]:
    """Sixty texts of which a tenth has the first label and a half the second."""
    labels = np.zeros((60, 2), dtype=np.int64)
    labels[:6, 0], labels[::2, 1] = 1, 1
    return labels
