"""The classifier with a head on tokens: which tokens it reads, in what order, and what it adds to the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig

LENGTHS = [21, 8, 0, 30, 1, 16]  # chunks are of 8 tokens
WINDOW = 10


def classifier(**options: Any) -> UlmfitForSequenceClassification:
    """A model of random weights, the same at each call, large enough for differences to show."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "embedding_size": 12, "hidden_size": 20, "chunk_length": 8, "num_labels": 3}
    head = {"head": "bilstm-attention", "head_hidden_sizes": [5], "head_dropouts": [0.5, 0.5]}
    model = UlmfitForSequenceClassification(UlmfitConfig(**{**sizes, **head, **options})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


@pytest.fixture
def batch() -> dict[str, Tensor]:
    mask = (torch.arange(33) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(9, 60, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_tokens_have_the_states_of_the_encoder_in_the_order_of_the_text(
    batch: dict[str, Tensor], direction: str
) -> None:
    model = classifier(direction=direction)
    with torch.inference_mode():
        (vectors,) = model.represent(**batch)
        states = model.encoder(**batch, output_hidden_states=True).hidden_states
    assert vectors.shape == (6, 30, 2, 12)
    for row, length in enumerate(LENGTHS):
        for layer, expected in enumerate((states[0], states[-1])):  # those between are of another width
            torch.testing.assert_close(vectors[row, :length, layer], expected[row, :length])
        assert not vectors[row, length:].any()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_of_a_long_text_the_chunks_near_the_end_of_the_reading_are_read(
    batch: dict[str, Tensor], direction: str
) -> None:
    model = classifier(direction=direction, max_pooled_tokens=WINDOW)
    read = [21 - 16, 8, 0, 30 - 24, 1, 16 - 8]
    assert model.tokens_read(torch.tensor(LENGTHS)).tolist() == read
    with torch.inference_mode():
        (vectors,) = model.represent(**batch)
        states = model.encoder(**batch, output_hidden_states=True).hidden_states[-1]
    assert vectors.shape == (6, 8, 2, 12)
    for row, (length, count) in enumerate(zip(LENGTHS, read, strict=True)):
        kept = slice(0, count) if direction == "backward" else slice(length - count, length)
        torch.testing.assert_close(vectors[row, :count, -1], states[row, kept])


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"direction": "backward"}])
@pytest.mark.parametrize("window", [WINDOW, 1440])
def test_a_document_scores_the_same_in_any_company(
    batch: dict[str, Tensor], options: dict[str, Any], window: int
) -> None:
    model = classifier(max_pooled_tokens=window, **options)
    with torch.inference_mode():
        together = model(**batch).logits
        torch.testing.assert_close(
            model.classify(model.represent(**batch), batch["attention_mask"]), together
        )
        for row, length in enumerate(LENGTHS):
            if length:
                alone = model(input_ids=batch["input_ids"][row : row + 1, :length]).logits
                torch.testing.assert_close(together[row : row + 1], alone)
    assert torch.isfinite(together).all()


def test_each_direction_has_a_head_of_its_own_and_probabilities_are_averaged(
    batch: dict[str, Tensor],
) -> None:
    model = classifier(bidirectional=True)
    with torch.inference_mode():
        vectors, mask = model.represent(**batch), batch["attention_mask"].bool()[:, :30]
        apart = [head(x, mask) for head, x in zip(model.heads(), vectors, strict=True)]
        logits = model(**batch).logits
    assert not torch.allclose(*apart)
    torch.testing.assert_close(logits.softmax(1), (apart[0].softmax(1) + apart[1].softmax(1)) / 2)


def test_training_adds_the_penalty_of_the_mix(batch: dict[str, Tensor]) -> None:
    none = dict.fromkeys(("input_dropout", "hidden_layer_dropout", "output_dropout"), 0.0)
    none |= dict.fromkeys(("embedding_dropout", "weight_dropout"), 0.0)
    none |= dict.fromkeys(("activation_penalty", "temporal_activation_penalty"), 0.0)
    model, labels = classifier(head_dropouts=[0.0, 0.0], **none), torch.tensor([0, 2, 1, 1, 0, 2])
    evaluated = model(**batch, labels=labels)
    torch.testing.assert_close(evaluated.loss, F.cross_entropy(evaluated.logits, labels))
    trained = model.train()(**batch, labels=labels).loss
    torch.testing.assert_close(trained, evaluated.loss + 0.001 * model.head.mix.weights.square().sum())


def test_layer_groups_and_saving(batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = classifier(bidirectional=True)
    groups = model.layer_groups()
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in model.parameters())
    assert {id(p) for head in model.heads() for p in head.parameters()} == {id(p) for p in groups[-1]}
    model.save_pretrained(tmp_path)
    loaded = UlmfitForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded.head.mix.weights, model.head.mix.weights)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)


def test_a_token_head_has_one_number_of_units() -> None:
    with pytest.raises(ValueError, match="one number"):
        UlmfitConfig(head="bilstm-attention", head_hidden_sizes=[5, 4], head_dropouts=[0.5, 0.5, 0.5])
