"""Words from characters: once a word, over as few characters as are exact, remembered while nothing changes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.nn import char_cnn
from nlptl.nn.char_cnn import CharCnn, distinct_rows

FILTERS = [(1, 3), (2, 4), (5, 6)]
BEGIN, END, PADDING = 259, 260, 261


def model(**options: Any) -> CharCnn:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"activation": "relu", "highway_layers": 2, "projection_size": 8, **options}
    cnn = CharCnn(262, 4, FILTERS, **settings).eval()
    for name, parameter in cnn.named_parameters():
        if name != "embedding.weight":
            torch.nn.init.normal_(parameter, std=0.5)
    return cnn


def word(length: int) -> Tensor:
    """A word whose spelling, with the marks of its beginning and end, has so many characters."""
    row = torch.full((50,), PADDING)
    row[:length] = torch.randint(1, 257, (length,))
    row[0] = BEGIN
    row[length - 1] = END
    return row


def sentence(*lengths: int) -> Tensor:
    return torch.stack([word(length) for length in lengths])


def over_all_characters(cnn: CharCnn, ids: Tensor) -> Tensor:
    """Plain convolutions over all 50 characters of every word."""
    x = F.embedding(ids, cnn.embedding.weight).transpose(1, 2)
    maxima = []
    for width, linear in zip(cnn.widths, cnn.convolutions, strict=True):
        assert isinstance(linear, torch.nn.Linear)
        convolution = torch.nn.Conv1d(4, linear.out_features, width)
        weight = linear.weight.unflatten(1, (width, 4)).transpose(1, 2)
        found: Tensor = torch.func.functional_call(convolution, {"weight": weight, "bias": linear.bias}, x)
        maxima.append(found.amax(dim=2))
    y = torch.cat(maxima, dim=1)
    y = y.relu() if cnn.activation == "relu" else y.tanh()
    for highway in cnn.highways:
        assert isinstance(highway, char_cnn.Highway)
        gate = highway.carry(y).sigmoid()
        y = gate * highway.transform(y).relu() + (1 - gate) * y
    vectors: Tensor = cnn.projection(y)
    return vectors


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_words_of_every_length_alone(activation: str) -> None:
    cnn = model(activation=activation)
    for length in range(2, 51):
        ids = word(length)[None]
        torch.testing.assert_close(cnn(ids), over_all_characters(cnn, ids))


def test_words_of_every_length_together_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(char_cnn, "WORDS_AT_ONCE", 10)
    cnn = model()
    ids = torch.cat([sentence(*range(2, 51)), torch.zeros(3, 50, dtype=torch.long)])
    ids = ids[torch.randint(0, len(ids), (150,))].view(5, 30, 50)
    expected = over_all_characters(cnn, ids.flatten(0, 1)).view(5, 30, 8)
    torch.testing.assert_close(cnn(ids), expected)
    torch.testing.assert_close(cnn(ids.to(torch.int16)), expected)


def test_gradients_are_those_of_plain_convolutions() -> None:
    cnn = model().double()
    ids = sentence(5, 50, 9, 12)[torch.tensor([0, 1, 2, 1, 3, 0])]
    ids = torch.cat([ids, torch.zeros(2, 50, dtype=torch.long)])
    weights = torch.randn(len(ids), 8, dtype=torch.double)
    found = torch.autograd.grad((cnn(ids) * weights).sum(), list(cnn.parameters()))
    wanted = torch.autograd.grad((over_all_characters(cnn, ids) * weights).sum(), list(cnn.parameters()))
    assert not found[0][0].any()  # the row of positions without a word stays zero
    torch.testing.assert_close(found[0][1:], wanted[0][1:])
    torch.testing.assert_close(found[1:], wanted[1:])


def test_bfloat16_is_close_to_float32() -> None:
    cnn, ids = model(), sentence(5, 9, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = cnn(ids)
    assert close.dtype == torch.float32
    torch.testing.assert_close(close, cnn(ids), atol=0.1, rtol=0.05)


def test_a_call_without_words() -> None:
    assert model()(torch.zeros(2, 0, 50, dtype=torch.long)).shape == (2, 0, 8)


def test_distinct_rows_are_told_apart_even_when_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor([[1, 2], [2, 1], [1, 2], [0, 3]])

    def check() -> None:
        distinct, index = distinct_rows(rows)
        assert len(distinct) == 3
        assert torch.equal(distinct[index], rows)

    check()
    zeros = torch.zeros(2, dtype=torch.long)  # times two and plus one: every factor is 1
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: zeros)
    check()


class Counted:
    """How many words are convolved."""

    def __init__(self, cnn: CharCnn, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words = 0
        convolved = cnn._convolved

        def counted(words: Tensor, longest: int) -> Tensor:
            self.words += len(words)
            return convolved(words, longest)

        monkeypatch.setattr(cnn, "_convolved", counted)

    def since(self) -> int:
        words, self.words = self.words, 0
        return words


def test_known_words_are_not_computed_again_and_changed_weights_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cnn, ids = model(), sentence(5, 9, 30)
    counted = Counted(cnn, monkeypatch)
    with torch.inference_mode():
        first = cnn(ids[[0, 1, 0]])
        assert counted.since() == 2
    with torch.no_grad():
        torch.testing.assert_close(cnn(ids)[[0, 1, 0]], first)
        assert counted.since() == 1
        assert torch.equal(cnn(ids), cnn(ids))
        assert counted.since() == 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cnn(ids)
        assert counted.since() == 3
        for parameter in cnn.parameters():
            parameter.mul_(1.1)
            torch.testing.assert_close(cnn(ids), over_all_characters(cnn, ids))
            assert counted.since() == 3
        cnn.load_state_dict(model().state_dict())
        torch.testing.assert_close(cnn(ids), over_all_characters(cnn, ids))
        cnn.double()
        assert cnn(ids).dtype == torch.float64


def test_training_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn, ids = model(), sentence(5, 9, 30)
    counted = Counted(cnn, monkeypatch)
    for _ in range(2):
        assert cnn(ids).requires_grad
        assert counted.since() == 3
    with torch.no_grad():
        cnn(ids)
        cnn.train()(ids)
        cnn.projection.weight.data.mul_(2.0)  # as some optimisers do it, unseen by version counters
        torch.testing.assert_close(cnn.eval()(ids), over_all_characters(cnn, ids))


def test_no_more_words_are_remembered_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn, ids = model(cached_words=4), sentence(5, 9, 30, 12, 7)
    counted = Counted(cnn, monkeypatch)
    expected = over_all_characters(cnn, ids)
    with torch.no_grad():
        for some in ([0, 1, 2], [2, 3, 4], [3, 4], [0, 3], [0, 1, 2, 3, 4], [0, 3]):
            torch.testing.assert_close(cnn(ids[some]), expected[some])
            assert len(cnn._cache.places) <= 4
        assert counted.since() == 3 + 3 + 0 + 1 + 5 + 0


def test_copies_pickles_and_saved_weights_do_not_hold_remembered_words() -> None:
    cnn, ids = model(), sentence(5, 9, 30)
    with torch.no_grad():
        expected = cnn(ids)
        for other in (copy.deepcopy(cnn), pickle.loads(pickle.dumps(cnn))):
            assert not other._cache.places
            torch.testing.assert_close(other(ids), expected)
            other.projection.weight.zero_()
            torch.testing.assert_close(cnn(ids), expected)
    assert not any("cache" in key for key in cnn.state_dict())
