"""The Transformer's classifier: pooling over windows, where gradients flow, symmetric pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from nlptl.families.transformer.classification import TransformerForSequenceClassification
from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.training.batching import padded
from tests.families.transformer.test_modeling import SIZES

BEGIN, END, SEPARATOR = 1, 2, 3


def classifier(**values: Any) -> TransformerForSequenceClassification:
    torch.manual_seed(0)
    return TransformerForSequenceClassification(TransformerConfig(**{**SIZES, **values})).eval()


def batch(*rows: Sequence[int]) -> dict[str, Tensor]:
    return padded([{"input_ids": list(row), "attention_mask": [1] * len(row)} for row in rows], 0)


def marked(*text: int) -> list[int]:
    return [BEGIN, *text, END]


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "concat"])
def test_a_text_s_vector_is_pooled_over_its_tokens(pooling: str) -> None:
    model = classifier(pooling=pooling)
    rows = batch(marked(10, 11, 12), marked(*range(20, 45)))
    with torch.inference_mode():
        states = model.encoder_states(**rows)[-1]
        found = model.represent(**rows)[0]
    for row, length in ((0, 5), (1, 27)):  # the second in windows
        tokens = states[row, :length]
        expected = {"mean": tokens.mean(dim=0), "max": tokens.amax(dim=0), "last": tokens[-1]}
        wanted = expected.get(pooling, torch.cat([expected[name] for name in ("last", "max", "mean")]))
        torch.testing.assert_close(found[row], wanted, rtol=1e-5, atol=1e-5)


def test_features_of_a_lower_layer_cost_no_block_above_it() -> None:
    model = classifier(feature_layer=1)
    rows = batch(marked(10, 11, 12))
    expected = model.encoder_states(**rows)[1].mean(dim=1)
    model.encoder.layers[1] = None  # so that to run it would fail
    torch.testing.assert_close(model.represent(**rows)[0], expected)


def test_only_the_windows_at_the_end_are_learned_from() -> None:
    model = classifier(max_trained_tokens=12).train()
    text = list(range(10, 38))
    model(**batch(text), labels=torch.tensor([1])).loss.backward()
    moved = model.encoder.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert moved == text[18:]  # windows begin at 0, 6, 12 and 18


def test_a_head_on_tokens_reads_those_at_the_end() -> None:
    model = classifier(max_trained_tokens=12, head="bilstm-attention", head_hidden_sizes=[4])
    rows = batch(list(range(10, 38)), [50, 51])
    with torch.inference_mode():
        vectors = model.represent(**rows)[0]
        states = torch.stack(model.encoder_states(**rows), dim=2)
    read = model.tokens_read(rows["attention_mask"].sum(dim=1))
    assert read.tolist() == [7, 2]  # of the last window those that it speaks for
    assert vectors.shape == (2, 7, 3, 16)
    torch.testing.assert_close(vectors[0], states[0, 21:28], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vectors[1, :2], states[1, :2], rtol=1e-5, atol=1e-5)
    assert not vectors[1, 2:].any()


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_swapping_a_symmetric_pair_changes_nothing(pooling: str) -> None:
    one = batch(marked(10, 11, SEPARATOR, 12), marked(*range(20, 34), SEPARATOR, 40, 41))
    other = batch(marked(12, SEPARATOR, 10, 11), marked(40, 41, SEPARATOR, *range(20, 34)))
    symmetric, plain = (classifier(pooling=pooling, pair_symmetric=yes) for yes in (True, False))
    alone = batch(marked(10, 11))
    with torch.inference_mode():
        torch.testing.assert_close(symmetric(**one).logits, symmetric(**other).logits, rtol=1e-5, atol=1e-5)
        assert (plain(**one).logits - plain(**other).logits).abs().amax(dim=1).min() > 1e-4
        torch.testing.assert_close(symmetric(**alone).logits, plain(**alone).logits)
