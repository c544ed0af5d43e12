"""Extraction from encoders of any kind: characters or numbers for tokens, a state of any form or none, one layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlptl.commands.features import vectors
from nlptl.commands.features.vectors import Extractor, Features, chosen_layers
from nlptl.errors import ConfigError

WIDTH = 3


class CharacterEncoder(nn.Module):
    """Reads (batch, time, 50); a token's vectors are its first character, and the sum of those so far in its text.

    The state, in a form of its own, is the last sum of each row; a batch must be as large as the state it gets.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0)
        self.device = torch.device("cpu")
        self.batches: list[tuple[int, ...]] = []

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: dict[str, Tensor] | None = None,
        output_hidden_states: bool | None = None,
    ) -> Any:
        assert attention_mask is not None
        assert output_hidden_states
        self.batches.append(tuple(input_ids.shape))
        before = torch.zeros(len(input_ids)) if state is None else state["sums"]
        first = input_ids[:, :, 0].float() * attention_mask
        sums = before[:, None] + first.cumsum(dim=1)
        states = tuple(x[:, :, None].expand(-1, -1, WIDTH) for x in (first, sums))
        return SimpleNamespace(hidden_states=states, state={"sums": sums[:, -1]})


class Table(nn.Module):
    """Word vectors: one layer, and no state."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=None)
        self.device = torch.device("cpu")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> Any:
        return SimpleNamespace(hidden_states=(input_ids[:, :, None].float().expand(-1, -1, WIDTH),))


def sentence(*tokens: int) -> dict[str, np.ndarray]:
    """Characters of the begin mark, 100, the tokens, and the end mark, 200."""
    ids = np.zeros((len(tokens) + 2, 50), dtype=np.int32)
    ids[:, 0] = [100, *tokens, 200]
    marks = np.array([1, *([0] * len(tokens)), 1])
    return {"input_ids": ids, "attention_mask": np.ones_like(marks), "special_tokens_mask": marks}


def features(**values: Any) -> Features:
    known = {
        "widths": {0: WIDTH, 1: WIDTH},
        "level": "token",
        "pooling": "mean",
        "mixed": False,
        "stacked": True,
    }
    return Features(**{**known, **values})


TEXTS = [sentence(1, 2, 3), sentence(), sentence(4), sentence(5, 6), sentence(7)]


def test_tokens_of_characters_lose_their_boundaries_and_keep_their_order() -> None:
    found = Extractor(CharacterEncoder(), features(), "fp32", 2, stateful=False).vectors(TEXTS)
    assert [x.shape for x in found] == [
        (2, 3, WIDTH),
        (2, 0, WIDTH),
        (2, 1, WIDTH),
        (2, 2, WIDTH),
        (2, 1, WIDTH),
    ]
    assert found[0][:, :, 0].tolist() == [[1, 2, 3], [101, 103, 106]]
    assert found[3][:, :, 0].tolist() == [[5, 6], [105, 111]]


def test_each_row_of_a_batch_goes_on_from_that_row_of_the_batch_before() -> None:
    model = CharacterEncoder()
    extractor = Extractor(model, features(widths={1: WIDTH}, stacked=False), "fp32", 2, stateful=True)
    found = []
    for window in extractor.windows(enumerate(TEXTS)):
        found += extractor.vectors([encoding for _, encoding in window])
    sums = [x[:, 0].tolist() for x in found]
    ends = {0: 100 + 6 + 200, 1: 300}
    assert sums[0] == [101, 103, 106]
    assert sums[1] == []
    assert sums[2] == [ends[0] + 104]
    assert sums[3] == [ends[1] + 105, ends[1] + 111]
    assert sums[4] == [ends[0] + 304 + 107]  # the last batch has one text, and the state is of two
    assert [shape[0] for shape in model.batches] == [2, 2, 2]


def test_text_vectors_of_a_table_pool_its_one_layer() -> None:
    encodings = [
        {
            "input_ids": np.array(ids),
            "attention_mask": np.ones(len(ids)),
            "special_tokens_mask": np.zeros(len(ids)),
        }
        for ids in ([2, 4, 9], [])
    ]
    wanted = features(widths={0: WIDTH}, level="text", pooling="concat", stacked=False)
    found = Extractor(Table(), wanted, "fp32", None, stateful=False).vectors(encodings)
    assert wanted.width == 3 * WIDTH
    assert found[0].tolist() == [9.0] * WIDTH + [9.0] * WIDTH + [5.0] * WIDTH
    assert found[1].tolist() == [0.0] * 3 * WIDTH


def test_windows_hold_a_bounded_number_of_rows_and_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(enumerate(TEXTS))  # of 5, 2, 3, 4 and 3 tokens
    monkeypatch.setattr(vectors, "WINDOW_BYTES", 7 * 4 * 2 * WIDTH)
    by_numbers = Extractor(CharacterEncoder(), features(), "fp32", None, stateful=False)
    assert [[n for n, _ in window] for window in by_numbers.windows(rows)] == [[0, 1], [2, 3], [4]]
    monkeypatch.setattr(vectors, "WINDOW_ROWS", 2)
    by_rows = Extractor(CharacterEncoder(), features(level="text"), "fp32", None, stateful=False)
    assert [[n for n, _ in window] for window in by_rows.windows(rows)] == [[0, 1], [2, 3], [4]]
    monkeypatch.setattr(vectors, "WINDOW_BYTES", 1)
    tiny = Extractor(CharacterEncoder(), features(), "fp32", None, stateful=False)
    assert [len(window) for window in tiny.windows(rows)] == [1] * 5  # a text is never cut


def test_half_precision_gives_full_precision_numbers() -> None:
    class Half(CharacterEncoder):
        def forward(self, *inputs: Any, **options: Any) -> Any:
            output = super().forward(*inputs, **options)
            output.hidden_states = tuple(x.bfloat16() for x in output.hidden_states)
            return output

    for level in ("text", "token"):
        found = Extractor(Half(), features(level=level), "fp32", None, stateful=False).vectors(TEXTS)
        assert {x.dtype for x in found} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("names", "widths", "layers"),
    [
        ("last", [4, 5], {1: 5}),
        ("all", [4, 5], {0: 4, 1: 5}),
        ("mix", [4, 4], {0: 4, 1: 4}),
        ("1,0", [4, 5], {1: 5, 0: 4}),
        ("last", [4], {0: 4}),
        ("mix", [4], {0: 4}),
        ("2", [4, 4], "no layer 2.*the model has layers 0 to 1"),
        ("1,3", [4], "no layer 1, 3.*the model has layer 0 alone"),
        ("0,0", [4, 5], "a layer is named twice"),
        ("mix", [4, 5], r"layers of different widths \(4, 5\) cannot be mixed"),
    ],
)
def test_layers_by_name(names: str, widths: list[int], layers: dict[int, int] | str) -> None:
    if isinstance(layers, str):
        with pytest.raises(ConfigError, match=layers):
            chosen_layers(names, widths)
    else:
        assert list(chosen_layers(names, widths).items()) == list(layers.items())
