"""The classifier: what is pooled, what learns, and what a pair's mark and a long text change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlptl.families.wordvectors.classification import WordVectorsForSequenceClassification
from nlptl.families.wordvectors.configuration import PAD, SEP, WordVectorsConfig
from nlptl.families.wordvectors.modeling import WordVectorsModel

Build = Callable[..., WordVectorsForSequenceClassification]


@pytest.fixture
def classifier() -> Build:
    """Builds a small model of random weights, the same at each call."""

    def build(**options: Any) -> WordVectorsForSequenceClassification:
        torch.manual_seed(0)
        config = WordVectorsConfig(vocab_size=40, embedding_size=6, **options)
        model = WordVectorsForSequenceClassification(config).eval()
        with torch.no_grad():
            model.encoder.embedding.weight[3:].normal_()
        return model

    return build


def ids(*rows: list[int]) -> tuple[Tensor, Tensor]:
    """Rows of ids -> padded ids and mask."""
    longest = max(map(len, rows))
    padded = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    return padded, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])


def test_a_new_table_has_zeros_for_padding_and_for_the_mark() -> None:
    weight = WordVectorsModel(WordVectorsConfig(vocab_size=40, embedding_size=6)).embedding.weight.detach()
    assert not weight[[PAD, SEP]].any()
    assert 0 < float(weight.abs().max()) <= 0.5 / 6


@pytest.mark.parametrize("limit", [1, 2, 5, 2048])
def test_documents_are_pooled_whole_wherever_they_are_cut(classifier: Build, limit: int) -> None:
    model = classifier(max_trained_tokens=limit)
    rows = [[5, 9, 7, 7, 12, 30, 8], [11, 4], [6] * 5, [20]]
    (vectors,) = model.represent(*ids(*rows))
    table = model.encoder.embedding.weight
    for row, vector in zip(rows, vectors, strict=True):
        words = table[row]
        expected = torch.cat([words[-1], words.max(dim=0).values, words.mean(dim=0)])
        torch.testing.assert_close(vector, expected)


def test_the_mark_of_a_pair_is_not_pooled(classifier: Build) -> None:
    model = classifier()
    pair, one = (model.represent(*ids(row))[0] for row in ([5, 9, SEP, 7], [5, 9, 7]))
    torch.testing.assert_close(pair, one)
    (empty_second,) = model.represent(*ids([5, 9, SEP]))
    torch.testing.assert_close(empty_second, model.represent(*ids([5, 9]))[0])


@pytest.mark.parametrize("head", ["blocks", "bilstm-attention"])
def test_texts_without_any_token_are_classified(classifier: Build, head: str) -> None:
    model = classifier(head=head)
    empty = torch.tensor([[PAD], [PAD]]), torch.tensor([[0], [0]])
    logits = model(*empty).logits
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[0], model(*ids([], [5, 6, 7])).logits[0])


def test_the_last_words_of_a_long_text_move_their_vectors_alike_in_any_company(classifier: Build) -> None:
    gradients = []
    for company in ([], [[3] * 9]):
        model = classifier(max_trained_tokens=3)
        inputs = ids([5, 6, 7, 8, 9, 10], *company)
        model.represent(*inputs)[0][0].sum().backward()
        gradient = model.encoder.embedding.weight.grad
        assert gradient is not None
        assert gradient.any(dim=1).nonzero().flatten().tolist() == [8, 9, 10]
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


def test_a_head_on_tokens_reads_the_last_of_them(classifier: Build) -> None:
    model = classifier(head="bilstm-attention", head_hidden_sizes=[4], max_trained_tokens=3)
    rows = [[5, 6, 7, 8, 9], [10, 11]]
    batch, mask = ids(*rows)
    (vectors,) = model.represent(batch, mask)
    table = model.encoder.embedding.weight
    assert vectors.shape == (2, 3, 1, 6)
    torch.testing.assert_close(vectors[0, :, 0], table[[7, 8, 9]])
    torch.testing.assert_close(vectors[1, :2, 0], table[[10, 11]])
    assert not vectors[1, 2].any()
    together = model(batch, mask).logits
    torch.testing.assert_close(together, model.classify([vectors], mask))
    for number, row in enumerate(rows):
        torch.testing.assert_close(together[number], model(*ids(row)).logits[0])


def test_dropout_on_vectors_is_of_training_only(classifier: Build) -> None:
    model, plain = classifier(vector_dropout=0.5), classifier()
    inputs = ids([5, 6, 7, 8])
    torch.testing.assert_close(model(*inputs).logits, plain(*inputs).logits)
    torch.manual_seed(1)
    assert not torch.equal(model.train().represent(*inputs)[0], plain.represent(*inputs)[0])


def test_the_token_head_adds_its_penalty_in_training(classifier: Build) -> None:
    model = classifier(head="bilstm-attention", head_hidden_sizes=[4], head_dropouts=[0.0, 0.0])
    inputs, labels = ids([5, 6], [7, 8]), torch.tensor([0, 1])
    with torch.no_grad():
        for parameter in model.head.mix.parameters():
            parameter.fill_(3.0)
    plain = model(*inputs, labels=labels).loss
    assert model.train()(*inputs, labels=labels).loss > plain


def test_by_inverse_frequency_a_word_counts_once_and_a_common_one_for_less(classifier: Build) -> None:
    model = classifier(pooling="sif", head="linear")
    table = model.encoder.embedding.weight
    (vectors,) = model.represent(*ids([5, 9, 30, 9, 9], [9, 30, 5], [8], []))
    weighted, means = vectors.split(6, dim=1)
    torch.testing.assert_close(weighted[0], weighted[1])
    torch.testing.assert_close(weighted[2], table[8])
    assert not vectors[3].any()
    # What the three words weigh, solved for: more the further down the table they are, 1 in all.
    weights = torch.linalg.lstsq(table[[5, 9, 30]].T, weighted[0][:, None]).solution[:, 0]
    assert 0 < weights[0] < weights[1] < weights[2]
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    torch.testing.assert_close(means[0], table[[5, 9, 30, 9, 9]].mean(dim=0))


def test_by_inverse_frequency_the_mark_of_a_pair_says_nothing(classifier: Build) -> None:
    model = classifier(pooling="sif", head="linear")
    (vectors,) = model.represent(*ids([5, SEP, 9], [5, 9]))
    torch.testing.assert_close(vectors[0], vectors[1])


def test_by_inverse_frequency_the_table_learns(classifier: Build) -> None:
    model = classifier(pooling="sif", head="linear").train()
    model(*ids([5, 9], [7]), labels=torch.tensor([0, 1])).loss.backward()
    gradient = model.encoder.embedding.weight.grad
    assert gradient is not None
    assert gradient.any(dim=1).nonzero().flatten().tolist() == [5, 7, 9]
