"""The loss of a classifier, for one label a text or several."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nlptl import processes


def classification_loss(
    logits: Tensor, labels: Tensor, problem_type: str | None, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy; of several labels a text, binary cross entropy of each.

    Args:
        logits: (batch, classes).
        labels: (batch,) class numbers, or (batch, classes) of zeros and ones for a multi-label problem.
        problem_type: as the configs of `transformers` name it.
        class_weights: (classes,), how much an example of each class counts; of a multi-label problem, how much more
            those texts count that have the label than those that do not.
    """
    if problem_type == "multi_label_classification":
        mean = F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=class_weights)
        return processes.weighed(mean, len(labels))
    amount = len(labels) if class_weights is None else class_weights[labels].sum()
    return processes.weighed(F.cross_entropy(logits, labels, weight=class_weights), amount)
