"""Windows: every token of a stream is read in order, once, in either direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlptl.errors import DataError
from nlptl.training.windows import Windows, stream_windows


def numbers(tokens: int) -> NDArray[np.uint16]:
    return np.arange(tokens, dtype=np.uint16)


@settings(deadline=None, max_examples=200)
@given(
    tokens=st.integers(2, 120),
    rows=st.integers(1, 5),
    length=st.integers(1, 9),
    backward=st.booleans(),
)
def test_windows_of_a_stream_follow_each_other(tokens: int, rows: int, length: int, backward: bool) -> None:
    windows = Windows(numbers(tokens), rows, length, backward)
    items = [windows[item] for item in range(len(windows))]
    step = -1 if backward else 1
    targets = 0
    for row in range(rows):
        stream = items[row::rows]
        # In reading order: a backward model starts at the right end of what it gets.
        inputs = np.concatenate([x[::step] for x, _ in stream]) if stream else np.zeros(0, dtype=int)
        expected = np.concatenate([y[::step] for _, y in stream]) if stream else np.zeros(0, dtype=int)
        assert (np.diff(inputs) == step).all()
        assert (expected == inputs + step).all()
        targets += len(expected)
        if len(inputs):
            first = row * windows.stream_length
            assert inputs[0] == (tokens - 1 - first if backward else first)
    assert targets == windows.targets
    assert windows.targets == rows * ((tokens - 1) // rows), "no token of a stream is left out"
    assert all(len(x) == length for x, _ in items[: (windows.stream_length // length) * rows])
    assert all(x.dtype == y.dtype == np.int64 for x, y in items)


def test_item_i_is_the_next_window_of_stream_i_modulo_rows() -> None:
    forward = Windows(np.arange(13), rows=2, length=3)
    assert [forward[item][0].tolist() for item in range(4)] == [[0, 1, 2], [6, 7, 8], [3, 4, 5], [9, 10, 11]]
    backward = Windows(np.arange(13), rows=2, length=3, backward=True)
    inputs, targets = backward[0]
    assert (inputs.tolist(), targets.tolist()) == ([10, 11, 12], [9, 10, 11]), "in the order of the text"


def test_a_small_text_gets_fewer_streams_of_several_windows() -> None:
    assert stream_windows(numbers(10_000), 8, 16, False).rows == 8
    small = stream_windows(numbers(200), 8, 16, False)
    assert (small.rows, small.windows) == (3, 5)
    assert stream_windows(numbers(5), 8, 16, False).rows == 1


def test_nothing_to_predict_is_an_error() -> None:
    with pytest.raises(DataError, match="fewer than two tokens"):
        stream_windows(numbers(1), 8, 16, False)
