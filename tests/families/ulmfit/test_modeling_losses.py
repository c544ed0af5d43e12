"""What the AWD-LSTM language model is trained on: labels and targets, penalties, candidates, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.families.ulmfit.modeling import UlmfitForCausalLM
from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty
from nlptl.nn.softmax import CandidateSampler

BuildModel = Callable[..., UlmfitForCausalLM]
DrawTokens = Callable[..., Tensor]
PaddedBatch = tuple[Tensor, Tensor, list[int]]

PAD = 1
NO_DROPOUT: dict[str, float] = {
    "input_dropout": 0.0,
    "hidden_layer_dropout": 0.0,
    "output_dropout": 0.0,
    "embedding_dropout": 0.0,
    "weight_dropout": 0.0,
}


def run(model: UlmfitForCausalLM, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model(*args, **kwargs)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_labels_are_the_ids_and_targets_what_comes_next_in_reading_order(
    language_model: BuildModel, tokens: DrawTokens, direction: str
) -> None:
    model, ids = language_model(direction=direction), tokens(3, 8)
    nothing = torch.full((3, 1), -100)
    ahead = [ids[:, 1:], nothing] if direction == "forward" else [nothing, ids[:, :-1]]
    targets = torch.cat(ahead, dim=1)
    by_labels, by_targets = run(model, ids, labels=ids), run(model, ids, targets=targets)
    expected = F.cross_entropy(by_labels.logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(by_labels.loss, expected)
    torch.testing.assert_close(by_targets.loss, expected)
    assert by_targets.logits is None  # tokens times vocabulary are not held in training


@pytest.mark.parametrize(
    "direction",
    [
        "forward",
        pytest.param("backward"),
    ],
)
def test_padding_is_not_predicted(
    language_model: BuildModel, padded_batch: PaddedBatch, direction: str
) -> None:
    model, (ids, mask, lengths) = language_model(direction=direction), padded_batch
    losses = torch.zeros(())
    for row, length in enumerate(lengths):
        text = ids[row : row + 1, :length]
        losses += run(model, text, labels=text).loss * (length - 1)
    expected = losses / sum(length - 1 for length in lengths)
    torch.testing.assert_close(run(model, ids, attention_mask=mask, labels=ids).loss, expected)


def test_training_adds_both_penalties_and_evaluation_none(
    language_model: BuildModel, tokens: DrawTokens
) -> None:
    model, ids = language_model(**NO_DROPOUT), tokens(3, 8)
    evaluated = run(model, ids, labels=ids, output_hidden_states=True)
    assert torch.equal(evaluated.loss, evaluated.cross_entropy)
    raw = evaluated.hidden_states[-1]
    penalties = 2.0 * activation_penalty(raw) + 1.0 * temporal_activation_penalty(raw)
    trained = run(model.train(), ids, labels=ids)
    torch.testing.assert_close(trained.cross_entropy, evaluated.loss)
    torch.testing.assert_close(trained.loss, evaluated.loss + penalties)


def test_padding_does_not_change_the_training_loss(language_model: BuildModel, tokens: DrawTokens) -> None:
    model, ids = language_model(**NO_DROPOUT).train(), tokens(2, 8)
    mask = torch.ones_like(ids)
    longer, longer_mask = F.pad(ids, (0, 6), value=PAD), F.pad(mask, (0, 6))
    expected = run(model, ids, attention_mask=mask, labels=ids).loss
    torch.testing.assert_close(run(model, longer, attention_mask=longer_mask, labels=longer).loss, expected)


def test_dropout_acts_in_training_only_and_follows_the_seed(
    language_model: BuildModel, tokens: DrawTokens
) -> None:
    model, ids = language_model(), tokens(3, 8)
    assert torch.equal(run(model, ids).logits, run(model, ids).logits)
    torch.manual_seed(4)
    first, second = run(model.train(), ids).logits, run(model, ids).logits
    torch.manual_seed(4)
    assert torch.equal(run(model, ids).logits, first)
    assert not torch.equal(first, second)


def test_training_against_candidates_reaches_every_layer(
    language_model: BuildModel, tokens: DrawTokens
) -> None:
    model, ids = language_model().train(), tokens(3, 8)
    candidates = CandidateSampler(torch.ones(60), 10).draw(0, torch.device("cpu"))
    model(ids, targets=ids, candidates=candidates).loss.backward()
    assert all(bool(p.grad.isfinite().all()) and bool((p.grad != 0).any()) for p in model.parameters())


def test_starting_from_frequencies_predicts_them(language_model: BuildModel, tokens: DrawTokens) -> None:
    model = language_model()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    counts = torch.arange(60)
    model.start_from_frequencies(counts)
    shares = (counts + 1.0) / (counts + 1.0).sum()
    torch.testing.assert_close(run(model, tokens(1, 2)).logits.softmax(2)[0, 0], shares)
