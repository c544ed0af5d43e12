"""The temperature that fits labelled rows: found where it is known, and 1 where the rows say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from nlptl.evaluation.calibration import fitted_temperature, tempered
from nlptl.evaluation.metrics import classification_metrics


def drawn(temperature: float, several: bool, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are so many times too large (too small, below 1) for the labels drawn by them."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(rows, 4)) * 2
    if several:
        labels = (draw.random(logits.shape) < tempered(logits, 1.0, multi_label=True)).astype(int)
    else:
        labels = (logits + draw.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_and_calibrates(temperature: float, several: bool) -> None:
    logits, labels = drawn(temperature, several)
    found = fitted_temperature(logits, labels, multi_label=several)
    assert found == pytest.approx(temperature, rel=0.05)
    names = ["a", "b", "c", "d"]
    before, after = (
        classification_metrics(labels, tempered(logits, t, multi_label=several), names, multi_label=several)
        for t in (1.0, found)
    )
    assert after["log_loss"] <= before["log_loss"]
    assert after["ece"] < 0.02
    assert after["accuracy"] == before["accuracy"]


def test_it_is_1_where_every_row_is_right() -> None:
    """Else the temperature would go to zero, and every later mistake be made with certainty."""
    assert fitted_temperature([[2.0, 1.0], [0.0, 0.5]], [0, 1]) == 1.0
    assert fitted_temperature([[2.0, -1.0], [-3.0, 0.5]], [[1, 0], [0, 1]], multi_label=True) == 1.0


def test_a_model_that_is_worse_than_chance_is_made_unsure_within_bounds() -> None:
    found = fitted_temperature([[2.0, 1.0], [0.0, 3.0]], [1, 0])
    assert found == pytest.approx(20)


def test_logits_far_apart_do_not_overflow() -> None:
    found = fitted_temperature([[900.0, -900.0], [800.0, -800.0], [5.0, 700.0]], [0, 1, 1])
    assert np.isfinite(found)
    assert found > 1
