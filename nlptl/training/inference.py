"""Running a trained model over many texts: batches of similar length, results in the order of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from nlptl import processes
from nlptl.nn.products import settled_for_now
from nlptl.training.allocation import keep_freed_memory
from nlptl.training.batching import Encoding, padded
from nlptl.training.precision import HALF, Precision, autocast

TOKENS_A_BATCH = 8192  # of a model that does not say how many are good for it, as `tokens_at_once`
ROWS_A_BATCH = 256
MANY_TOKENS = 8192  # from so many on it pays to lay weights out for them


def length_batches(
    encodings: Sequence[Encoding], most_rows: int, most_tokens: int = TOKENS_A_BATCH
) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, longest first, each of at most so many rows and padded tokens."""
    lengths = [len(encoding["input_ids"]) for encoding in encodings]
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) >= most_rows or (len(batch) + 1) * lengths[batch[0]] > most_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def in_order(
    function: Callable[[dict[str, Tensor]], list[Tensor]],
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    precision: Precision,
    most_rows: int = ROWS_A_BATCH,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> list[NDArray[np.float32]]:
    """Apply `function` to padded batches and put its rows back in the order of `encodings`.

    Several processes share the batches out among them; the leader gets all results, and the others none.

    Args:
        function: a batch on the model's device -> tensors with a row for each text.
        on_rows: told after each batch how many rows are done.

    Returns:
        One array for each tensor that `function` gives, (texts, ...).
    """
    keep_freed_memory()
    model.eval()
    most_tokens = getattr(model, "tokens_at_once", TOKENS_A_BATCH)

    @torch.inference_mode()
    def computed(rows: list[int]) -> list[NDArray[np.float32]]:
        batch = padded([encodings[row] for row in rows], model.config.pad_token_id or 0)
        outputs = function({key: value.to(model.device) for key, value in batch.items()})
        return [output.float().cpu().numpy() for output in outputs]

    results: list[NDArray[np.float32]] = []
    done = 0
    # Both once for all batches: weights are cast, and laid out where that pays and they are whole in this process.
    long = sum(len(encoding["input_ids"]) for encoding in encodings) >= MANY_TOKENS and processes.count() == 1
    with (
        autocast(model.device, precision),
        settled_for_now(model, HALF.get(precision)) if long else nullcontext(),
    ):
        for rows, arrays in processes.shared_out(length_batches(encodings, most_rows, most_tokens), computed):
            if not results:
                results = [np.empty((len(encodings), *array.shape[1:]), dtype=np.float32) for array in arrays]
            for result, array in zip(results, arrays, strict=True):
                result[rows] = array
            done += len(rows)
            on_rows(done)
    return results


def class_probabilities(
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    precision: Precision,
    most_rows: int = ROWS_A_BATCH,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> NDArray[np.float32]:
    """Probabilities of the classes, (texts, classes): softmax, or sigmoid of each class where a text has several.

    Several processes share the work, and all get the result.
    """
    several = model.config.problem_type == "multi_label_classification"

    def probabilities(logits: Tensor) -> Tensor:
        return logits.sigmoid() if several else logits.softmax(dim=1)

    return _of_logits(probabilities, model, encodings, precision, most_rows, on_rows)


def class_logits(
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    precision: Precision,
    most_rows: int = ROWS_A_BATCH,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> NDArray[np.float32]:
    """What `class_probabilities` makes its probabilities of, (texts, classes)."""
    return _of_logits(lambda logits: logits, model, encodings, precision, most_rows, on_rows)


def _of_logits(
    function: Callable[[Tensor], Tensor],
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    precision: Precision,
    most_rows: int,
    on_rows: Callable[[int], None],
) -> NDArray[np.float32]:
    if not encodings:
        return np.empty((0, int(model.config.num_labels or 0)), dtype=np.float32)

    def computed(batch: dict[str, Tensor]) -> list[Tensor]:
        return [function(model(**batch).logits.float())]

    (found,) = processes.told(in_order(computed, model, encodings, precision, most_rows, on_rows))
    return found
