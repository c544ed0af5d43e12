"""The ELMo classifier: long texts in pieces, layers mixed as asked, memory bounded, gradients where they belong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlptl.families.elmo.characters import boundaries
from nlptl.families.elmo.classification import ElmoForSequenceClassification
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.pieces import Pieces
from nlptl.families.elmo.tokenization import SPECIAL_WORDS, ElmoTokenizer
from nlptl.nn.pooling import pool
from nlptl.training.batching import padded

SMALL: dict[str, Any] = {
    "vocab_size": 4,
    "character_embedding_size": 3,
    "filters": [[1, 4], [2, 4]],
    "highway_layers": 1,
    "projection_size": 5,
    "cell_size": 7,
    "segment_length": 6,
    "max_trained_tokens": 12,
    "num_labels": 3,
}
TEXTS = ["a good film", "", " ".join(f"word{number}" for number in range(25)), "dull " * 5]


@pytest.fixture
def classifier() -> Callable[..., ElmoForSequenceClassification]:
    """Builds a classifier of random weights, the same at each call."""

    def build(**options: Any) -> ElmoForSequenceClassification:
        torch.manual_seed(0)
        model = ElmoForSequenceClassification(ElmoConfig(**{**SMALL, **options})).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return model

    return build


@pytest.fixture
def batch() -> dict[str, Tensor]:
    tokenizer = ElmoTokenizer(SPECIAL_WORDS)
    return padded([tokenizer(text) for text in TEXTS], 0)


def test_pieces_are_put_together_again(batch: dict[str, Tensor]) -> None:
    pieces = Pieces.of(batch["input_ids"], batch["attention_mask"], 6)
    assert pieces.of_text.tolist() == [0, 1, 2, 2, 2, 2, 2, 3, 3]
    assert pieces.number.tolist() == [0, 0, 0, 1, 2, 3, 4, 0, 1]
    assert pieces.from_end.tolist() == [0, 0, 4, 3, 2, 1, 0, 1, 0]
    assert torch.equal(pieces.joined(pieces.input_ids), batch["input_ids"])


@pytest.mark.parametrize("layers", ["mix", "all", "last"])
@pytest.mark.parametrize("pooling", ["mean", "max", "last", "concat"])
def test_a_text_s_vector_is_pooled_over_all_its_pieces(
    layers: str,
    pooling: Any,
    batch: dict[str, Tensor],
    classifier: Callable[..., ElmoForSequenceClassification],
) -> None:
    model = classifier(layers=layers, pooling=pooling)
    with torch.inference_mode():
        (vectors,) = model.represent(**batch)
        for row in range(len(TEXTS)):
            length = int(batch["attention_mask"][row].sum())
            ids = batch["input_ids"][row : row + 1, :length]
            parts = [
                model.encoder(ids[:, start : start + 6], output_hidden_states=True).hidden_states
                for start in range(0, length, 6)
            ]
            states = [torch.cat(layer, dim=1) for layer in zip(*parts, strict=True)]
            if layers == "mix":
                weights = model.mix.weights.softmax(0)
                words = model.mix.gamma * sum(w * s for w, s in zip(weights, states, strict=True))
            else:
                words = torch.cat(states, dim=2) if layers == "all" else states[-1]
            expected = pool(words, torch.ones(1, length), pooling)
            torch.testing.assert_close(vectors[row], expected[0], rtol=1e-5, atol=1e-6)


def test_a_head_on_words_reads_the_words_of_all_pieces(
    batch: dict[str, Tensor], classifier: Callable[..., ElmoForSequenceClassification]
) -> None:
    head = {"head": "bilstm-attention", "head_hidden_sizes": [4], "head_dropouts": [0.0, 0.0]}
    model = classifier(**head, max_trained_tokens=99)
    with torch.inference_mode():
        (words,) = model.represent(**batch)
        first = model.encoder(batch["input_ids"][2:3, :6], output_hidden_states=True).hidden_states
    assert words.shape == (4, 27, 3, 10)
    torch.testing.assert_close(words[2, :6], torch.stack(first, dim=2)[0], rtol=1e-5, atol=1e-6)
    assert not words[0, 5:].any()


def test_a_head_on_words_reads_the_end_of_a_long_text(
    batch: dict[str, Tensor], classifier: Callable[..., ElmoForSequenceClassification]
) -> None:
    """Of 27 words in pieces of six, 15 lie in the last three; they stand at the beginning of the row."""
    head = {"head": "bilstm-attention", "head_hidden_sizes": [4], "head_dropouts": [0.0, 0.0]}
    model, bounded = classifier(**head, max_trained_tokens=99), classifier(**head, max_trained_tokens=18)
    assert bounded.tokens_read(batch["attention_mask"].sum(dim=1)).tolist() == [5, 2, 15, 7]
    with torch.inference_mode():
        (whole,), (end,) = model.represent(**batch), bounded.represent(**batch)
    torch.testing.assert_close(end[2, :15], whole[2, 12:27], rtol=1e-5, atol=1e-6)
    assert not end[2, 15:].any()
    torch.testing.assert_close(end[3, :7], whole[3, :7], rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_last_words_of_a_long_text_only(
    batch: dict[str, Tensor], classifier: Callable[..., ElmoForSequenceClassification]
) -> None:
    """Words before the last two pieces count in the vector, and train nothing."""
    model = classifier(
        vector_dropout=0.0, head_dropouts=[0.0, 0.0], dropout=0.0, pooling="mean", layers="last"
    )
    embedding = model.encoder.char_cnn.get_parameter(
        next(name for name, p in model.encoder.char_cnn.named_parameters() if p.shape[0] == 262)
    )
    model.train()
    (vectors,) = model.represent(batch["input_ids"][2:3], batch["attention_mask"][2:3])
    model.eval()
    with torch.no_grad():
        (whole,) = model.represent(batch["input_ids"][2:3], batch["attention_mask"][2:3])
    torch.testing.assert_close(vectors, whole, rtol=1e-5, atol=1e-6)
    vectors.sum().backward()
    seen = {int(number) for number in batch["input_ids"][2].unique()}
    moved = {row for row in range(262) if embedding.grad is not None and embedding.grad[row].any()}
    early = {ord("9") + 1}  # "word9" lies before the last two pieces, and so does "word19"'s
    assert moved < seen
    assert ord("2") + 1 in moved  # of word24
    assert early & seen


def test_the_penalty_of_the_mix_is_part_of_the_training_loss(
    batch: dict[str, Tensor], classifier: Callable[..., ElmoForSequenceClassification]
) -> None:
    dropless = {"vector_dropout": 0.0, "head_dropouts": [0.0], "dropout": 0.0, "head_hidden_sizes": []}
    model = classifier(head="linear", mix_penalty=0.5, **dropless)
    labels = torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        plain = model(**batch, labels=labels).loss
        trained = model.train()(**batch, labels=labels).loss
    torch.testing.assert_close(trained - plain, 0.5 * model.mix.weights.detach().square().sum())


@pytest.mark.parametrize("variant", ["allennlp", "bilm-tf"])
def test_layers_are_normalised_with_or_without_the_boundaries(
    variant: str, batch: dict[str, Tensor], classifier: Callable[..., ElmoForSequenceClassification]
) -> None:
    model = classifier(layer_norm=variant, pooling="mean", segment_length=30)
    with torch.inference_mode():
        (vectors,) = model.represent(**batch)
        states = model.encoder(**batch, output_hidden_states=True).hidden_states
    valid = batch["attention_mask"].bool()
    counted = valid if variant == "allennlp" else valid & ~boundaries(batch["input_ids"])
    normed = []
    for state in states:
        values = state[counted]
        normed.append((state - values.mean()) / values.var(correction=0).sqrt())
    weights = model.mix.weights.softmax(0)
    words = model.mix.gamma * sum(w * s for w, s in zip(weights, normed, strict=True))
    torch.testing.assert_close(vectors, pool(words, valid, "mean"), rtol=1e-4, atol=1e-5)
