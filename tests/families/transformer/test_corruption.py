"""Noise: what is hidden can be put back, how much there is of it, and that it is the same when a run goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.corruption import DenoisingWindows, corrupted, denoising_batch
from nlptl.training.windows import stream_windows

FIRST, GAPS, END, MASK = 5, 64, 2, 4


def config(**values: object) -> TransformerConfig:
    return TransformerConfig(**{"vocab_size": 1000, "gap_token_ids": [FIRST, GAPS], **values})


def put_back(read: list[int], written: list[int]) -> list[int]:
    """The window that both came from."""
    assert written[-1] == END
    gaps: dict[int, list[int]] = {}
    for token in written[:-1]:
        if FIRST <= token < FIRST + GAPS:
            gaps[token] = []
            mark = token
        else:
            gaps[mark].append(token)
    whole: list[int] = []
    for token in read:
        whole += gaps.pop(token) if FIRST <= token < FIRST + GAPS else [token]
    assert not gaps
    return whole


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    length=st.integers(2, 300),
    density=st.floats(0.05, 0.9),
    span=st.floats(1, 10),
    seed=st.integers(0, 1000),
)
def test_what_stood_in_the_gaps_is_written_and_nothing_is_lost(
    length: int, density: float, span: float, seed: int
) -> None:
    ids = np.random.default_rng(seed).integers(100, 1000, length)
    settings = config(noise_density=density, mean_span_length=span)
    found = corrupted(ids, settings, np.random.default_rng(seed))
    assert put_back(found.read.tolist(), found.written.tolist()) == ids.tolist()
    hidden = length - sum(token >= FIRST + GAPS for token in found.read.tolist())
    assert hidden == min(max(1, round(length * density)), length - 1)


def test_gaps_have_the_length_that_is_asked_for() -> None:
    ids = np.arange(100, 356)
    found = corrupted(ids, config(noise_density=0.25, mean_span_length=4.0), np.random.default_rng(0))
    marks = [token for token in found.read.tolist() if token < FIRST + GAPS]
    assert marks == list(range(FIRST, FIRST + 16))  # 64 hidden tokens in gaps of four
    lengths = np.diff(
        [*(i for i, token in enumerate(found.written) if token < FIRST + GAPS and token != END), 80]
    )
    assert lengths.min() >= 2
    assert len(set(lengths.tolist())) > 2  # the mark and one token or more, of many lengths


@pytest.mark.parametrize("length", [0, 1])
def test_a_window_that_is_too_short_has_no_gap(length: int) -> None:
    ids = np.full(length, 100)
    found = corrupted(ids, config(), np.random.default_rng(0))
    assert found.read.tolist() == ids.tolist()
    assert found.written.tolist() == [END]


def test_masks_hide_single_tokens_and_the_whole_is_written() -> None:
    ids = np.random.default_rng(0).integers(100, 1000, 2000)
    found = corrupted(ids, config(noise="masks", noise_density=0.3), np.random.default_rng(1))
    hidden = found.read == MASK
    assert 0.27 < hidden.mean() < 0.33
    assert np.array_equal(found.read[~hidden], ids[~hidden])
    assert found.written.tolist() == [*ids.tolist(), END]


def test_noise_follows_from_the_window_and_the_pass_alone() -> None:
    windows = DenoisingWindows(stream_windows(np.arange(100, 900), rows=2, length=32, backward=False))
    rows = [windows[0], windows[1], windows[2]]
    torch.manual_seed(0)
    first = denoising_batch(rows, config(), training=True)
    torch.manual_seed(1)
    again = denoising_batch([windows[2]], config(), training=True)
    assert torch.equal(first["input_ids"][2:], again["input_ids"])
    assert not torch.equal(first["labels"][0] < FIRST + GAPS, first["labels"][1] < FIRST + GAPS)

    measured = denoising_batch(rows, config(), training=False)
    windows.set_epoch(1)
    second = denoising_batch([windows[0], windows[1], windows[2]], config(), training=True)
    assert not torch.equal(first["input_ids"], second["input_ids"])
    assert not torch.equal(first["input_ids"], measured["input_ids"])
    still = denoising_batch([windows[0], windows[1], windows[2]], config(), training=False)
    assert all(torch.equal(measured[name], still[name]) for name in measured)
