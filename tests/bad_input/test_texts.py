"""Any text is read by every family: probabilities that are finite and sum to 1, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import nlptl
from nlptl.commands.prediction import Classifier, load_classifier
from nlptl.config import PredictConfig
from nlptl.families import FAMILIES
from tests.bad_input.drawing import ODDITIES, drawn, odd_texts
from tests.bad_input.tally import Tally

FROZEN = Path(__file__).resolve().parents[1] / "fixtures" / "format-1"


@pytest.fixture(params=list(FAMILIES))
def classifiers(request: pytest.FixtureRequest) -> list[Classifier]:
    """A frozen one of each family, reading texts one at a time and several at once."""
    nlptl.register_families()
    folder = str(FROZEN / request.param / "classifier")
    return [
        load_classifier(folder, PredictConfig(device="cpu", precision="fp32", batch_size=size))
        for size in (1, 8)
    ]


def answers(classifier: Classifier, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([p for _, p in classifier.stream([{"text": text} for text in texts])])


def test_any_text_has_the_same_sound_answer_in_any_company(
    classifiers: list[Classifier], tally: Tally, examples: int
) -> None:
    alone, together = classifiers

    @drawn(examples)
    @example(list(ODDITIES))
    @given(st.lists(odd_texts(), min_size=1, max_size=5))
    def check(texts: list[str]) -> None:
        one = tally.outcome(lambda: answers(alone, texts))
        many = answers(together, texts[::-1])[::-1]
        assert isinstance(one, np.ndarray)
        assert len(one) == len(texts)
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(one, many, atol=1e-5)

    check()
