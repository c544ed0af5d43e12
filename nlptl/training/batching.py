"""Documents of many lengths -> batches: which go together in each epoch, and how they are padded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from nlptl import processes

Encoding = Mapping[str, Any]
STANDS_IN = "stands_in"  # of a batch: its row is another process's, because this one has none
BATCHES_SORTED_TOGETHER = 50


class LengthBuckets(Sampler[list[int]]):
    """Shuffled batches of documents of similar length; a pure function of the seed and the epoch.

    The batch with the longest document comes first, so that a run that will not fit fails at once. No batch holds
    one row alone, which batch normalisation cannot use, unless there is only one row.

    Args:
        lengths: tokens of each document.
        batch_size: documents of a batch; the last may have one more.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that this epoch uses."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size)
        return max(1, whole + int(rest > 1 or (rest == 1 and self.batch_size == 1)))

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        count = len(self)
        bounds = [min(number * self.batch_size, len(order)) for number in range(count)] + [len(order)]
        for first in range(0, count, BATCHES_SORTED_TOGETHER):
            last = min(first + BATCHES_SORTED_TOGETHER, count)
            part = order[bounds[first] : bounds[last]]
            order[bounds[first] : bounds[last]] = part[np.argsort(-self.lengths[part], kind="stable")]
        batches = [order[start:stop].tolist() for start, stop in itertools.pairwise(bounds)]
        longest = max(
            range(count), key=lambda number: max((self.lengths[i] for i in batches[number]), default=0)
        )
        rest = [batches[number] for number in random.permutation(count) if number != longest]
        yield from [batches[longest], *rest]


def padded(encodings: Sequence[Encoding], pad_token_id: int) -> dict[str, Tensor]:
    """Stack encodings of different lengths, padding on the right.

    Args:
        encodings: each with `input_ids` (time, ...) and perhaps `attention_mask` and other keys (time,); `labels` is
            stacked as it is.

    Returns:
        (batch, longest time, ...) tensors; `input_ids` are padded with `pad_token_id`, all else with 0.
    """
    batch: dict[str, Tensor] = {}
    for key in encodings[0]:
        rows = [torch.as_tensor(encoding[key]) for encoding in encodings]
        if key == "labels":
            batch[key] = torch.stack(rows)
            continue
        longest = max(1, max(len(row) for row in rows))
        fill = pad_token_id if key == "input_ids" else 0
        full = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), fill)
        for place, row in zip(full, rows, strict=True):
            place[: len(row)] = row
        batch[key] = full.long()
    return batch


def own_batches(batches: DataLoader[Any]) -> DataLoader[Any]:
    """Of each batch the rows that are this process's, and under `STANDS_IN` whether it has none and works on another's.

    The batches are the same for all processes, so that their size does not grow with the number of processes.
    """
    collate = batches.collate_fn

    def own_rows(rows: list[Any]) -> dict[str, Any]:
        own = rows[processes.own_part(len(rows))]
        return {**collate(own or rows[:1]), STANDS_IN: not own}

    return DataLoader(batches.dataset, batch_sampler=batches.batch_sampler, collate_fn=own_rows)
