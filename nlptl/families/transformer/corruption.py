"""Noise for the encoder to read and the decoder to remove; always the same for a window and a pass over the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.nn.softmax import IGNORED
from nlptl.training.language_modeling import Window
from nlptl.training.windows import Windows

Ids = NDArray[np.int64]
MEASURED = 0  # the pass that no training has


class DenoisingWindows:
    """Windows of a corpus that know their number and the pass, from which their noise follows.

    Nothing is drawn from the global random numbers, because batches are made ahead of the step that they are for: a
    run that goes on from a checkpoint has to find the noise that it would have had.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self.epoch = 0

    @property
    def rows(self) -> int:
        """Streams side by side, which is the batch size."""
        return self.windows.rows

    def set_epoch(self, epoch: int) -> None:
        """The noise of this pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, item: int) -> Window:
        """The window's ids, (length,), and its pass and number, (2,)."""
        ids, _ = self.windows[item]
        return ids, np.array([self.epoch, item], dtype=np.int64)


class Corrupted(NamedTuple):
    """A window with noise: what the encoder reads, and what the decoder is to write."""

    read: Ids
    written: Ids


def corrupted(ids: Ids, config: TransformerConfig, random: np.random.Generator) -> Corrupted:
    """Put noise into a window.

    Args:
        ids: (tokens,), of a text.
        random: what is drawn from it decides the noise.
    """
    make = with_gaps if config.noise == "spans" else with_masks
    return make(ids, config, random)


def with_gaps(ids: Ids, config: TransformerConfig, random: np.random.Generator) -> Corrupted:
    """Span corruption (Raffel et al. 2020, section 3.1.4): `a b c d e` -> `a <gap_0> d e` and `<gap_0> b c </s>`.

    A share of `noise_density` of the tokens stands in gaps of random lengths with a mean of `mean_span_length`.
    """
    first_gap, most_gaps = config.gap_token_ids
    hidden = min(max(1, round(len(ids) * float(config.noise_density))), len(ids) - 1)
    if hidden < 1:
        return Corrupted(ids, np.array([config.end_token_id()], dtype=np.int64))
    gaps = max(1, round(hidden / float(config.mean_span_length)))
    gaps = min(gaps, most_gaps, hidden, len(ids) - hidden)
    seen_lengths, hidden_lengths = (_parts(total, gaps, random) for total in (len(ids) - hidden, hidden))
    read, written, place = [], [], 0
    for gap, (seen, taken) in enumerate(zip(seen_lengths, hidden_lengths, strict=True)):
        mark = np.array([first_gap + gap])
        read += [ids[place : place + seen], mark]
        written += [mark, ids[place + seen : place + seen + taken]]
        place += seen + taken
    written.append(np.array([config.end_token_id()]))
    return Corrupted(np.concatenate(read), np.concatenate(written))


def with_masks(ids: Ids, config: TransformerConfig, random: np.random.Generator) -> Corrupted:
    """A share of `noise_density` of the tokens replaced by a mask; the whole window is to be written."""
    hidden = random.random(len(ids)) < config.noise_density
    end = np.array([config.end_token_id()])
    return Corrupted(np.where(hidden, config.mask_token_id or 0, ids), np.concatenate([ids, end]))


def denoising_batch(
    windows: Sequence[Window], config: TransformerConfig, *, training: bool
) -> dict[str, Tensor]:
    """Windows with the noise of their pass and number -> a batch of the model.

    Args:
        training: the pass counts; without it the noise is always that of the same pass.

    Returns:
        `input_ids`, `attention_mask` (rows, longest) and `labels` (rows, longest to write), -100 where nothing is.
    """
    pairs = []
    for ids, key in windows:
        epoch, item = map(int, key)
        seed = (1 + epoch if training else MEASURED, item)
        pairs.append(corrupted(np.asarray(ids, dtype=np.int64), config, np.random.default_rng(seed)))
    read, written = ([torch.from_numpy(row) for row in rows] for rows in zip(*pairs, strict=True))
    return {
        "input_ids": pad_sequence(read, batch_first=True, padding_value=config.pad_token_id or 0),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in read], batch_first=True),
        "labels": pad_sequence(written, batch_first=True, padding_value=IGNORED),
    }


def _parts(total: int, parts: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`total` as a sum of so many random numbers of 1 or more; all ways are equally likely."""
    cuts = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else np.empty(0, int)
    return np.diff(np.concatenate([[0], cuts, [total]]))
