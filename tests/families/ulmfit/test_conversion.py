"""fastai's checkpoints in our names: the same values, nothing lost, nothing guessed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nlptl.errors import ModelError
from nlptl.families.restricted_pickle import read_tensors
from nlptl.families.ulmfit.conversion import (
    FastaiCheckpoint,
    check_vocabulary,
    checkpoint_kind,
    convert_classifier,
    convert_encoder,
    convert_language_model,
    map_vocabulary,
    read_vocabulary,
)

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "ulmfit"
SIZES = {"vocab_size": 60, "embedding_size": 12, "hidden_size": 20, "num_layers": 3}
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared parity fixtures are not here")


def language_model(hidden: int = 5, layers: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """A state dict in fastai 2's layout: vocabulary 7, embedding 4."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    embedding = random(7, 4)
    tensors = {"0.encoder.weight": embedding, "0.encoder_dp.emb.weight": embedding.clone()}
    width = 4
    for i in range(layers):
        units = 4 if i == layers - 1 else hidden
        tensors[f"0.rnns.{i}.weight_hh_l0_raw"] = random(4 * units, units)
        tensors[f"0.rnns.{i}.module.weight_ih_l0"] = random(4 * units, width)
        tensors[f"0.rnns.{i}.module.bias_ih_l0"] = random(4 * units)
        tensors[f"0.rnns.{i}.module.bias_hh_l0"] = random(4 * units)
        width = units
    return tensors | {"1.decoder.weight": embedding.clone(), "1.decoder.bias": random(7)}


def fastai_07_classifier() -> dict[str, Tensor]:
    tensors = {k: v for k, v in language_model().items() if k.startswith("0.") and "encoder_dp" not in k}
    tensors = {k.replace(".weight_hh_l0_raw", ".module.weight_hh_l0_raw"): v for k, v in tensors.items()}
    for i, (n_in, n_out) in enumerate([(12, 6), (6, 2)]):
        tensors[f"1.layers.{i}.lin.weight"] = torch.randn(n_out, n_in)
        tensors[f"1.layers.{i}.lin.bias"] = torch.randn(n_out)
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"1.layers.{i}.bn.{name}"] = torch.randn(n_in)
    return tensors


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def run(checkpoint: FastaiCheckpoint, input_ids: Tensor) -> dict[str, Tensor]:
    """The converted language model as plain LSTMs, from a zero state."""
    weights = checkpoint.state_dict
    embedding = weights["encoder.embedding.weight"]
    hidden = embedding[input_ids]
    outputs = {"embedding": hidden}
    for i in range(checkpoint.architecture["num_layers"]):
        prefix = f"encoder.layers.{i}."
        own = {
            name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)
        }
        units = own["weight_hh_l0"].shape[1]
        lstm = torch.nn.LSTM(hidden.shape[-1], units, batch_first=True)
        lstm.load_state_dict(own)
        hidden, (h, c) = lstm(hidden)
        outputs |= {f"layer{i}": hidden, f"final_h{i}": h, f"final_c{i}": c}
    head = weights.get("lm_head.weight", embedding)
    return outputs | {"logits": hidden @ head.T + weights["lm_head.bias"]}


# --- parity


@needs_shared
@pytest.mark.parametrize(
    ("name", "layout", "has_bias"),
    [
        ("lm_fwd", "fastai 2", True),
        ("lm_fwd_fastai1_layout", "fastai 1", True),
        ("lm_fwd_fastai07_layout", "fastai 0.7", False),
    ],
)
def test_the_three_layouts_compute_what_fastai_computes(name: str, layout: str, has_bias: bool) -> None:
    checkpoint = convert_language_model(read_tensors(SHARED / f"{name}.pth"), f"in {name}.pth")
    assert checkpoint.layout == layout
    assert checkpoint.architecture == SIZES | {"tie_word_embeddings": True, "decoder_bias": has_bias}
    expected = load_file(SHARED / "lm_fwd_expected.safetensors")
    with torch.inference_mode():
        outputs = run(checkpoint, expected["full.input_ids"])
    if not has_bias:
        expected["full.logits"] -= read_tensors(SHARED / "lm_fwd.pth")["1.decoder.bias"]
    for key, value in outputs.items():
        torch.testing.assert_close(value, expected[f"full.{key}"], atol=1e-5, rtol=1e-5)


@needs_shared
def test_the_three_layouts_convert_to_the_same_weights() -> None:
    names = ("lm_fwd", "lm_fwd_fastai1_layout", "lm_fwd_fastai07_layout")
    two, one, paper = (convert_language_model(read_tensors(SHARED / f"{n}.pth"), n) for n in names)
    assert equal(two.state_dict, one.state_dict)
    assert torch.equal(paper.state_dict.pop("lm_head.bias"), torch.zeros(60))
    assert equal(paper.state_dict, {k: v for k, v in two.state_dict.items() if k != "lm_head.bias"})
    assert one.ignored_keys == [f"0.rnns.{i}.module.weight_hh_l0" for i in range(3)]
    assert two.ignored_keys == paper.ignored_keys == []


@needs_shared
def test_an_encoder_is_that_of_its_language_model() -> None:
    tensors = read_tensors(SHARED / "lm_fwd_encoder.pth")
    assert checkpoint_kind(tensors) == "encoder"
    encoder = convert_encoder(tensors, "in lm_fwd_encoder.pth")
    whole = convert_language_model(read_tensors(SHARED / "lm_fwd.pth"), "in lm_fwd.pth")
    assert encoder.architecture == SIZES
    assert len(encoder.state_dict) == 13
    assert all(torch.equal(whole.state_dict[f"encoder.{k}"], v) for k, v in encoder.state_dict.items())


@needs_shared
@pytest.mark.parametrize(("name", "hidden", "labels"), [("clf_a", 50, 3), ("clf_long", 10, 2)])
def test_classifiers_keep_every_value(name: str, hidden: int, labels: int) -> None:
    tensors = read_tensors(SHARED / f"{name}.pth")
    assert checkpoint_kind(tensors) == "classifier"
    checkpoint = convert_classifier(tensors, f"in {name}.pth")
    head = {"head_hidden_sizes": [hidden], "num_labels": labels, "head_bias": False}
    assert checkpoint.architecture == SIZES | head
    converted = checkpoint.state_dict
    assert len(converted) == len(tensors) - 1  # the copy of the embedding
    assert torch.equal(converted["encoder.embedding.weight"], tensors["0.module.encoder.weight"])
    assert torch.equal(
        converted["encoder.layers.2.weight_hh_l0"], tensors["0.module.rnns.2.weight_hh_l0_raw"]
    )
    for i in range(2):
        assert torch.equal(converted[f"head.blocks.{i}.linear.weight"], tensors[f"1.layers.{i}.2.weight"])
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            ours, theirs = converted[f"head.blocks.{i}.norm.{part}"], tensors[f"1.layers.{i}.0.{part}"]
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype


@needs_shared
def test_another_vocabulary_gets_the_rows_that_fastai_gives_it() -> None:
    vocabularies = json.loads((SHARED / "match_vocab.json").read_text("utf-8"))
    old, new = vocabularies["old_itos"], vocabularies["new_itos"]
    tensors = convert_language_model(read_tensors(SHARED / "lm_fwd.pth"), "in lm_fwd.pth").state_dict
    weights, bias = tensors["encoder.embedding.weight"], tensors["lm_head.bias"]
    embedding, new_bias, coverage, missing = map_vocabulary(weights, bias, old, new)
    expected = load_file(SHARED / "match_vocab_expected.safetensors")
    torch.testing.assert_close(embedding, expected["encoder.weight"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(new_bias, expected["decoder.bias"], atol=1e-6, rtol=1e-6)
    assert missing == ["zebra", "quokka"]
    assert coverage == pytest.approx(16 / 18)  # six fillers count neither way


# --- sizes, variants and heads


@pytest.mark.parametrize(("hidden", "layers"), [(5, 3), (6, 3), (9, 2), (4, 4), (5, 1)])
def test_sizes_come_from_the_tensors(hidden: int, layers: int) -> None:
    architecture = convert_language_model(language_model(hidden, layers), "in lm.pth").architecture
    assert architecture["num_layers"] == layers
    assert architecture["hidden_size"] == (hidden if layers > 1 else 4)
    assert (architecture["vocab_size"], architecture["embedding_size"]) == (7, 4)


def test_an_untied_decoder_is_kept() -> None:
    tensors = language_model()
    tensors["1.decoder.weight"] = tensors["1.decoder.weight"] + 1
    checkpoint = convert_language_model(tensors, "in lm.pth")
    assert checkpoint.architecture["tie_word_embeddings"] is False
    assert torch.equal(checkpoint.state_dict["lm_head.weight"], tensors["1.decoder.weight"])
    assert "lm_head.weight" not in convert_language_model(language_model(), "in lm.pth").state_dict


def test_half_precision_becomes_float32_and_parameters_become_tensors() -> None:
    tensors = {key: torch.nn.Parameter(tensor.half()) for key, tensor in language_model().items()}
    state_dict = convert_language_model(tensors, "in lm.pth").state_dict
    assert all(t.dtype == torch.float32 and not t.requires_grad for t in state_dict.values())
    assert torch.equal(state_dict["encoder.embedding.weight"], tensors["0.encoder.weight"].detach().float())


def test_heads_of_fastai_1_and_07_have_biases() -> None:
    old = fastai_07_classifier()
    converted = convert_classifier(old, "in clf.h5")
    assert converted.layout == "fastai 0.7"
    assert converted.architecture["head_bias"] is True
    assert converted.architecture["head_hidden_sizes"] == [6]
    assert converted.architecture["num_labels"] == 2
    assert converted.state_dict["head.blocks.1.norm.num_batches_tracked"] == 0
    for i, name in [(0, "lin.bias"), (1, "lin.weight")]:
        ours = converted.state_dict[f"head.blocks.{i}.{name.replace('lin', 'linear')}"]
        assert torch.equal(ours, old[f"1.layers.{i}.{name}"])
    # In fastai 1 the same modules stand in one sequence, with a dropout and a ReLU between them.
    places = {"0.bn": "0", "0.lin": "2", "1.bn": "4", "1.lin": "10"}
    renamed = {}
    for key, tensor in old.items():
        for path, place in places.items():
            key = key.replace(f"1.layers.{path}.", f"1.layers.{place}.")
        renamed["0.module." + key[2:] if key.startswith("0.") else key] = tensor
    assert equal(convert_classifier(renamed, "in clf.pth").state_dict, converted.state_dict)


def test_a_head_of_three_layers() -> None:
    tensors = fastai_07_classifier()
    tensors |= {
        f"1.layers.2.bn.{n}": torch.ones(2) for n in ("weight", "bias", "running_mean", "running_var")
    }
    tensors |= {"1.layers.2.lin.weight": torch.ones(5, 2), "1.layers.2.lin.bias": torch.ones(5)}
    architecture = convert_classifier(tensors, "in clf.h5").architecture
    assert architecture["head_hidden_sizes"] == [6, 2]
    assert architecture["num_labels"] == 5


# --- what is wrong is named


Change = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("0.encoder.weight"),
            "no tensor '0.encoder.weight', in lm.pth; it has '0.encoder_dp",
        ),
        (lambda t: t.pop("0.rnns.1.weight_hh_l0_raw"), "no tensor '0.rnns.1.weight_hh_l0_raw'"),
        (lambda t: t.pop("0.rnns.2.module.bias_hh_l0"), "no tensor '0.rnns.2.module.bias_hh_l0'"),
        (lambda t: t.pop("1.decoder.weight"), "no tensor '1.decoder.weight'"),
        (
            lambda t: t.update({"0.attention.weight": torch.ones(2)}),
            "no place for '0.attention.weight', in lm.pth",
        ),
        (lambda t: t.update({"0.rnns.0.module.gate": torch.ones(2)}), "no place for '0.rnns.0.module.gate'"),
        (
            lambda t: t.update({"0.rnns.1.module.weight_ih_l0": torch.ones(20, 4)}),
            "tensor '0.rnns.1.module.weight_ih_l0' has the shape (20, 4), expected (20, 5), in lm.pth",
        ),
        (
            lambda t: t.update({"1.decoder.bias": torch.ones(8)}),
            "tensor '1.decoder.bias' has the shape (8,), expected (7,)",
        ),
        (
            lambda t: t.update({"0.encoder.weight": torch.ones(7)}),
            "tensor '0.encoder.weight' has the shape (7,), expected 2 dimensions",
        ),
        (
            lambda t: t.update({"0.encoder_dp.emb.weight": torch.ones(7, 4)}),
            "tensor '0.encoder_dp.emb.weight' differs from '0.encoder.weight', of which it is a copy",
        ),
        (
            lambda t: t.update({"0.rnns.0.module.weight_ih_l0_reverse": torch.ones(20, 4)}),
            "bidirectional layers ('0.rnns.0.module.weight_ih_l0_reverse') are not supported",
        ),
        (
            lambda t: t.update({"0.rnns.0.layers.0.linear.weight_raw": torch.ones(20, 4)}),
            "QRNN layers ('0.rnns.0.layers.0.linear.weight_raw') are not supported",
        ),
    ],
)
def test_a_wrong_language_model_is_an_error_that_names_the_tensor(change: Change, message: str) -> None:
    tensors = language_model()
    change(tensors)
    with pytest.raises(ModelError) as caught:
        convert_language_model(tensors, "in lm.pth")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("1.layers.0.bn.running_var"), "no tensor '1.layers.0.bn.running_var'"),
        (lambda t: t.pop("1.layers.1.lin.bias"), "no tensor '1.layers.1.lin.bias'"),
        (
            lambda t: t.update({"1.layers.1.lin.weight": torch.ones(2, 9)}),
            "tensor '1.layers.1.lin.weight' has the shape (2, 9), expected ('any', 6)",
        ),
        (
            lambda t: t.update({"1.layers.2.lin.weight": torch.ones(2, 2)}),
            "no place for '1.layers.2.lin.weight'",
        ),
        (
            lambda t: [t.pop(key) for key in list(t) if key.startswith("1.layers")],
            "no head of a classifier",
        ),
    ],
)
def test_a_wrong_classifier_is_an_error_that_names_the_tensor(change: Change, message: str) -> None:
    tensors = fastai_07_classifier()
    change(tensors)
    with pytest.raises(ModelError) as caught:
        convert_classifier(tensors, "in clf.h5")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("convert", [convert_language_model, convert_encoder, convert_classifier])
def test_a_foreign_state_dict_is_an_error_of_one_line(convert: Callable[..., FastaiCheckpoint]) -> None:
    foreign = {f"bert.layer.{i}.weight": torch.ones(2, 2) for i in range(100)}
    with pytest.raises(ModelError, match=r"^no tensor '.*', in model\.pth; it has .* and 96 more$"):
        convert(foreign, "in model.pth")


# --- vocabularies


def test_vocabularies_from_pickle_and_json(tmp_path: Path) -> None:
    words = ["xxunk", "xxpad", "日本"]
    (tmp_path / "itos.pkl").write_bytes(pickle.dumps(words))
    (tmp_path / "itos.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    assert read_vocabulary(tmp_path / "itos.pkl") == read_vocabulary(tmp_path / "itos.json") == words


@pytest.mark.parametrize(
    "content", [b"", b"[", b"{}", b"[1]", b"[]", b"\xff\xfe", b'"words"', b"[" * 100_000]
)
def test_a_json_file_without_words_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "itos.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"itos\.json; give fastai's itos"):
        read_vocabulary(path)


def test_absent_and_unknown_vocabulary_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_vocabulary(tmp_path / "itos.json")
    with pytest.raises(ModelError, match=r"ends in \.pkl or \.json, not '\.txt'"):
        read_vocabulary(tmp_path / "itos.txt")


def test_a_vocabulary_of_another_length_is_an_error() -> None:
    check_vocabulary(["a", "b"], torch.ones(2, 4))
    with pytest.raises(ModelError, match=r"has 3 words, the embedding 2 rows, in itos\.pkl; give"):
        check_vocabulary(["a", "b", "c"], torch.ones(2, 4), "in itos.pkl")
    with pytest.raises(ModelError, match="has 1 words"):
        map_vocabulary(torch.ones(2, 4), None, ["a"], ["a"])
    with pytest.raises(ModelError, match="holds no words"):
        map_vocabulary(torch.ones(1, 4), None, ["a"], ["xxfake"])


def test_mapping_without_a_bias_and_with_a_word_twice() -> None:
    embedding = torch.arange(6.0).reshape(3, 2)
    mapped, bias, coverage, missing = map_vocabulary(
        embedding, None, ["a", "b", "a"], ["b", "a", "c", "xxfake"]
    )
    assert bias is None
    assert missing == ["c"]
    assert coverage == pytest.approx(2 / 3)
    mean = embedding.mean(0)
    assert torch.equal(mapped, torch.stack([embedding[1], embedding[2], mean, mean]))
