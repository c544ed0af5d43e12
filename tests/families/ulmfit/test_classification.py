"""The classifier: parity with fastai, a document's score depends on the document alone, two directions, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.conversion import convert_classifier
from nlptl.families.ulmfit.modeling import UlmfitForCausalLM
from nlptl.nn.regularization import activation_penalty, temporal_activation_penalty

PARITY = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "ulmfit"

PAD = 1
LENGTHS = [21, 8, 30, 1, 16]  # chunks are of 8 tokens
NO_DROPOUT: dict[str, Any] = {
    "input_dropout": 0.0,
    "hidden_layer_dropout": 0.0,
    "output_dropout": 0.0,
    "embedding_dropout": 0.0,
    "weight_dropout": 0.0,
    "head_dropouts": [0.0, 0.0],
}


def classifier(**options: Any) -> UlmfitForSequenceClassification:
    """A model of random weights, the same at each call, large enough for differences to show."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "embedding_size": 12, "hidden_size": 20, "chunk_length": 8, "num_labels": 3}
    model = UlmfitForSequenceClassification(UlmfitConfig(**{**sizes, **options})).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(std=0.4)
    return model


def batch_of(documents: list[Tensor], extra: int = 0) -> dict[str, Tensor]:
    """Documents of any length as `input_ids` and `attention_mask`, padded `extra` beyond the longest."""
    lengths = torch.tensor([len(ids) for ids in documents])
    mask = torch.arange(int(lengths.max()) + extra) < lengths[:, None]
    ids = torch.full(mask.shape, PAD)
    ids[mask] = torch.cat(documents)
    return {"input_ids": ids, "attention_mask": mask.long()}


@pytest.fixture
def documents() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(9, 60, (length,), generator=generator) for length in LENGTHS]


def run(model: UlmfitForSequenceClassification, **inputs: Any) -> Any:
    with torch.no_grad():
        return model(**inputs)


# Parity with fastai


Released = tuple[UlmfitForSequenceClassification, list[Tensor], dict[str, Tensor]]


@pytest.fixture(scope="module", params=["clf_a", "clf_long"])
def released(request: pytest.FixtureRequest) -> Released:
    """A recorded classifier, its documents, and what fastai computes for each of them alone."""
    if not PARITY.is_dir():
        pytest.skip("../shared/parity is absent")
    name = request.param
    options: dict[str, Any] = {
        "clf_a": {"max_pooled_tokens": 40, "head_hidden_sizes": [50], "num_labels": 3},
        "clf_long": {"max_pooled_tokens": 16, "head_hidden_sizes": [10], "num_labels": 2},
    }[name]
    checkpoint = convert_classifier(torch.load(PARITY / f"{name}.pth", weights_only=True), f"in {name}.pth")
    model = classifier(**options)
    model.load_state_dict(checkpoint.state_dict)
    expected = load_file(PARITY / f"{name}_expected.safetensors")
    count = len({key.split(".")[0] for key in expected if key.startswith("doc")})
    return model, [expected[f"doc{i}.input_ids"][0] for i in range(count)], expected


def test_each_document_alone_has_fastais_vector_and_logits(released: Released) -> None:
    model, texts, expected = released
    for number, ids in enumerate(texts):
        logits = run(model, input_ids=ids[None]).logits
        with torch.no_grad():
            vector = model.represent(ids[None])[0][0]
        torch.testing.assert_close(vector, expected[f"doc{number}.pooled"].view(-1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits, expected[f"doc{number}.logits"].view(1, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extra", [0, 1, 11])
@pytest.mark.parametrize("seed", range(3))
def test_any_batch_order_and_padding_gives_fastais_logits_of_the_document_alone(
    released: Released, seed: int, extra: int
) -> None:
    model, texts, expected = released
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    logits = run(model, **batch_of([texts[i] for i in order], extra)).logits
    alone = torch.cat([expected[f"doc{i}.logits"].view(1, -1) for i in order])
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-5)


# A document's score


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"direction": "backward"},
        {"pooling": "max"},
        {"layers": "all", "pooling": "mean"},
    ],
)
@pytest.mark.parametrize("max_pooled_tokens", [10, 1440])
def test_a_document_scores_the_same_in_any_company(
    documents: list[Tensor], options: dict[str, Any], max_pooled_tokens: int
) -> None:
    model = classifier(max_pooled_tokens=max_pooled_tokens, **options)
    together = run(model, **batch_of(documents, extra=5)).logits
    for row, ids in enumerate(documents):
        torch.testing.assert_close(together[row : row + 1], run(model, input_ids=ids[None]).logits)


@pytest.mark.parametrize("chunk_length", [1, 7, 100])
def test_reading_in_chunks_changes_nothing(documents: list[Tensor], chunk_length: int) -> None:
    expected = run(classifier(), **batch_of(documents)).logits
    torch.testing.assert_close(
        run(classifier(chunk_length=chunk_length), **batch_of(documents)).logits, expected
    )


def test_an_empty_document_is_finite_and_harmless(documents: list[Tensor]) -> None:
    model, inputs = classifier(bidirectional=True), batch_of(documents)
    expected = run(model, **inputs).logits
    inputs["attention_mask"][1] = 0
    logits = run(model, **inputs).logits
    assert bool(logits.isfinite().all())
    torch.testing.assert_close(logits[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])
    inputs["attention_mask"][:] = 0
    output = run(model.train(), **inputs, labels=torch.tensor([0, 1, 2, 0, 1]))
    assert bool(output.logits.isfinite().all())
    assert bool(output.loss.isfinite())


def test_tokens_before_the_window_are_read_but_not_trained_on(documents: list[Tensor]) -> None:
    model = classifier(max_pooled_tokens=16)
    ids = torch.arange(9, 53)  # 44 tokens, each once: the chunks that begin at 32 and 40 are pooled
    model(input_ids=ids[None]).logits.sum().backward()
    gradient = model.encoder.embedding.weight.grad
    assert gradient is not None
    assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == list(range(41, 53))
    changed = ids.clone()
    changed[0] = 55
    assert not torch.equal(run(model, input_ids=changed[None]).logits, run(model, input_ids=ids[None]).logits)


def test_representing_then_classifying_is_the_model(documents: list[Tensor]) -> None:
    for options in ({}, {"bidirectional": True}, {"head": "linear", "pooling": "mean"}):
        model, inputs = classifier(**options), batch_of(documents)
        with torch.no_grad():
            vectors = model.represent(**inputs)
            assert [v.shape for v in vectors] == [(5, model.config.pooled_width())] * len(vectors)
            torch.testing.assert_close(model.classify(vectors), run(model, **inputs).logits)


def test_all_layers_are_pooled_side_by_side_bottom_to_top(documents: list[Tensor]) -> None:
    model = classifier(layers="all", pooling="mean", chunk_length=7)
    ids = documents[0][None]
    with torch.no_grad():
        (vector,) = model.represent(ids)
        states = model.encoder(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(vector, torch.cat([state.mean(dim=1) for state in states], dim=1))


def test_hidden_states_are_those_of_the_encoder(documents: list[Tensor]) -> None:
    model, inputs = classifier(), batch_of(documents)
    states = run(model, **inputs, output_hidden_states=True).hidden_states
    assert [tuple(x.shape) for x in states] == [(5, 30, width) for width in (12, 20, 20, 12)]
    assert run(model, **inputs).hidden_states is None


# Losses


def test_evaluation_loss_is_the_plain_cross_entropy(documents: list[Tensor]) -> None:
    labels = torch.tensor([0, 2, 1, 1, 0])
    output = run(classifier(), **batch_of(documents), labels=labels)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, labels))


def test_training_adds_both_penalties_whatever_the_padding() -> None:
    model = classifier(head="linear", **NO_DROPOUT)
    ids, labels = torch.arange(9, 25).view(2, 8), torch.tensor([0, 2])
    evaluated = run(model, input_ids=ids, labels=labels, output_hidden_states=True)
    raw = evaluated.hidden_states[-1]
    expected = evaluated.loss + 2.0 * activation_penalty(raw) + 1.0 * temporal_activation_penalty(raw)
    for extra in (0, 3, 20):
        loss = model.train()(**batch_of(list(ids), extra), labels=labels).loss
        torch.testing.assert_close(loss, expected)


def test_multi_label_scores_and_loss(documents: list[Tensor]) -> None:
    model = classifier(problem_type="multi_label_classification", bidirectional=True)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
    output = run(model, **batch_of(documents), labels=labels)
    with torch.no_grad():
        vectors = model.represent(**batch_of(documents))
        scores = [head(vector) for (_, head), vector in zip(model.directions(), vectors, strict=True)]
    torch.testing.assert_close(output.logits.sigmoid(), (scores[0].sigmoid() + scores[1].sigmoid()) / 2)
    losses = [F.binary_cross_entropy_with_logits(x, labels.float()) for x in scores]
    torch.testing.assert_close(output.loss, losses[0] + losses[1])


# Two directions


def test_class_probabilities_of_two_directions_are_averaged(documents: list[Tensor]) -> None:
    model, labels = classifier(bidirectional=True), torch.tensor([0, 2, 1, 1, 0])
    output = run(model, **batch_of(documents), labels=labels)
    with torch.no_grad():
        vectors = model.represent(**batch_of(documents))
        scores = [model.head(vectors[0]), model.backward_head(vectors[1])]
    average = (scores[0].softmax(1) + scores[1].softmax(1)) / 2
    torch.testing.assert_close(output.logits.softmax(1), average)
    torch.testing.assert_close(output.loss, sum(F.cross_entropy(x, labels) for x in scores))


def test_the_second_direction_reads_the_text_from_its_end(documents: list[Tensor]) -> None:
    both, forward = classifier(bidirectional=True), classifier()
    forward.encoder.load_state_dict(both.backward_encoder.state_dict())
    with torch.no_grad():
        backward_vectors = both.represent(**batch_of(documents, extra=4))[1]
        expected = forward.represent(**batch_of([ids.flip(0) for ids in documents]))[0]
    torch.testing.assert_close(backward_vectors, expected)
    assert both.encoder.config.direction == "forward"


# Layer groups, saving


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"head": "linear"}])
def test_layer_groups_hold_every_parameter_once(options: dict[str, Any]) -> None:
    model = classifier(**options)
    groups = model.layer_groups()
    assert len(groups) == 5
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in model.parameters())
    assert groups[0][0] is model.encoder.embedding.weight
    assert {id(p) for p in model.head.parameters()} <= {id(p) for p in groups[-1]}


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"head": "linear", "pooling": "last"}])
def test_a_saved_classifier_comes_back_the_same(
    tmp_path: Path, documents: list[Tensor], options: dict[str, Any]
) -> None:
    model, inputs = classifier(**options), batch_of(documents)
    model.config.id2label = {0: "bad", 1: "fair", 2: "good"}
    model.save_pretrained(tmp_path)
    loaded = UlmfitForSequenceClassification.from_pretrained(tmp_path)
    saved = model.state_dict()  # statistics of the normalisation among them
    assert list(loaded.state_dict()) == list(saved)
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(run(loaded, **inputs).logits, run(model, **inputs).logits)
    assert loaded.config.id2label == {0: "bad", 1: "fair", 2: "good"}


def test_a_classifier_starts_from_a_saved_language_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    language_model = UlmfitForCausalLM(UlmfitConfig(vocab_size=60, embedding_size=12, hidden_size=20))
    language_model.save_pretrained(tmp_path)
    loaded: Any = UlmfitForSequenceClassification.from_pretrained(
        tmp_path, num_labels=4, output_loading_info=True
    )
    model, loading = loaded
    expected = language_model.encoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.encoder.state_dict().items())
    assert all(name.startswith("head.") for name in loading["missing_keys"])
    assert run(model, input_ids=torch.arange(9, 20)[None]).logits.shape == (1, 4)
    # What the checkpoint lacks has to be initialised all the same.
    assert bool((model.head.blocks[0].norm.running_var == 1).all())
    assert bool((model.head.blocks[0].norm.weight == 1).all())
