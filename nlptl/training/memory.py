"""How much memory a step of training will take, found without taking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from nlptl.training.precision import Precision, autocast
from nlptl.training.runs import peak_memory_mb


def training_memory_mb(
    model: PreTrainedModel, batch: Callable[[int], dict[str, Any]], rows: int, precision: Precision
) -> float:
    """The peak of a run that trains all of `model` with Adam, MiB, beside what this process holds already.

    What a step keeps for its backward pass is counted on batches of one row and of two; each further row adds as much
    as the second did. The gradients grow while it is given back, so that the larger of the two counts.

    Args:
        batch: a number of rows -> a batch with so many of the longest that will come.
        rows: of the batches to come.
    """
    one, two = (_kept(model, batch(count), precision) for count in (1, 2))
    kept = one + max(0, two - one) * (rows - 1)
    weights = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return peak_memory_mb(model.device) + (2 * weights + max(kept, weights)) / 2**20


def _kept(model: PreTrainedModel, batch: dict[str, Any], precision: Precision) -> int:
    """Bytes that a step keeps for its backward pass, without the weights themselves."""
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # each stays alive, so that no address comes twice

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    model.train()
    inputs = {key: value.to(model.device) for key, value in batch.items()}
    with saved_tensors_hooks(remember, lambda tensor: tensor), autocast(model.device, precision):
        model(**inputs)
    return sum(storage.nbytes() for storage in kept.values())
