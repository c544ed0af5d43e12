"""Weights of the classes: how they are found, and that loss and figures count each text by them alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from nlptl.strategies.class_weights import balanced_weights, weighted_figures, weighted_loss


def test_balanced_weights_are_in_inverse_proportion_to_the_classes() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3).numpy(), expected, rtol=1e-6)
    assert balanced_weights(labels, 3).numpy()[labels].mean() == pytest.approx(1)
    assert torch.isfinite(balanced_weights(labels, 4)).all(), "a class without a row"


def test_of_several_labels_the_texts_with_one_weigh_as_much_as_those_without() -> None:
    several = np.zeros((200, 4), dtype=np.int64)
    several[:50, 0], several[:1, 1], several[:, 2] = 1, 1, 1
    assert balanced_weights(several, 4).tolist() == pytest.approx([3.0, 50.0, 1 / 50, 50.0])
    truth = torch.from_numpy(several[:, :1]).float()
    loss = F.binary_cross_entropy_with_logits(
        torch.zeros(200, 1), truth, pos_weight=balanced_weights(several, 4)[:1], reduction="none"
    )
    assert float(loss[:50].sum()) == pytest.approx(float(loss[50:].sum()))


def scores_and_labels() -> tuple[torch.Tensor, np.ndarray]:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.normal(size=(40, 3))), random.choice(3, 40, p=[0.7, 0.2, 0.1])


def test_figures_are_those_of_scikit_learn_whose_samples_weigh_as_their_classes() -> None:
    scores, labels = scores_and_labels()
    probabilities = scores.softmax(1).numpy()
    plain = weighted_figures(probabilities, labels, None)
    assert plain["accuracy"] == pytest.approx(accuracy_score(labels, probabilities.argmax(1)))
    assert plain["log_loss"] == pytest.approx(log_loss(labels, probabilities))
    weights = torch.tensor([0.5, 2.0, 3.0])
    each = weights.numpy()[labels]
    weighted = weighted_figures(probabilities, labels, weights)
    assert set(weighted) == {
        "weighted_accuracy",
        "weighted_log_loss",
    }  # no other figure goes by its plain name
    expected = accuracy_score(labels, probabilities.argmax(1), sample_weight=each)
    assert weighted["weighted_accuracy"] == pytest.approx(expected)
    assert weighted["weighted_log_loss"] == pytest.approx(log_loss(labels, probabilities, sample_weight=each))


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
@pytest.mark.parametrize("several", [False, True])
def test_what_is_chosen_by_is_the_loss_that_is_trained_on(several: bool, weights: list[float] | None) -> None:
    scores, labels = scores_and_labels()
    weight = None if weights is None else torch.tensor(weights).double()
    if several:
        labels = np.random.default_rng(1).integers(0, 2, (40, 3))
    loss = weighted_loss(scores, torch.from_numpy(labels), weight)
    probabilities = (scores.sigmoid() if several else scores.softmax(1)).numpy()
    assert list(weighted_figures(probabilities, labels, weight).values())[1] == pytest.approx(float(loss))


def test_of_several_labels_the_whole_set_of_a_text_has_to_be_right() -> None:
    labels = np.array([[1, 0], [0, 0], [0, 1], [0, 0]])
    probabilities = np.array([[0.9, 0.1], [0.1, 0.1], [0.1, 0.4], [0.9, 0.1]])
    assert weighted_figures(probabilities, labels, None)["accuracy"] == 0.5
    # Texts weigh (3 + 1) / 2, 1, (1 + 5) / 2 and 1.
    weighted = weighted_figures(probabilities, labels, torch.tensor([3.0, 5.0]))
    assert weighted["weighted_accuracy"] == pytest.approx(3 / 7)
