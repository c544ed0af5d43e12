"""OpenAI's release: the recorded weights, and files that are no release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import nlptl
from nlptl.errors import ModelError
from nlptl.families.gpt import conversion
from nlptl.families.gpt.conversion import convert_weights, import_release
from nlptl.families.gpt.modeling import GptForCausalLM, GptModel
from nlptl.families.gpt.paper_tokenization import GptPaperTokenizer
from nlptl.families.gpt.tokenization import GptTokenizer
from tests.releases import gpt_release

Command = Callable[..., CompletedProcess[str]]


def test_the_release_is_the_recorded_model(recorded: Path, tmp_path: Path) -> None:
    facts = import_release(recorded / "tiny_openai_release", tmp_path, heads=4)
    expected = GptForCausalLM.from_pretrained(recorded / "tiny")
    found = GptForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(x, found.state_dict()[name]) for name, x in expected.state_dict().items())
    assert found.config.n_head == expected.config.n_head == 4
    assert (facts["parameters"], facts["vocabulary"]) == (found.num_parameters(), 120)
    assert "the model has no tokenizer" in facts["notes"][0]


def test_the_real_shapes_are_those_of_gpt(recorded: Path) -> None:
    shapes = json.loads((recorded / "params_shapes_release.json").read_text())
    with torch.device("meta"):
        model = GptModel(GptModel.config_class())
    tensors = dict(model.named_parameters())
    names = ["positions_embed.weight", "tokens_embed.weight"]
    names += [f"h.{layer}.{name}" for layer in range(12) for name in conversion.LAYER]
    assert set(names) == tensors.keys()
    assert [tuple(tensors[name].shape) for name in names] == [
        tuple(shape[1:] if len(shape) == 3 else shape) for shape in shapes
    ]


def test_by_command(command: Command, tmp_path: Path) -> None:
    gpt_release(tmp_path / "release")
    line = ("models", "import", "--from", "openai", "--directory", tmp_path / "release", "--heads", 2)
    outcome = command(*line, "-o", tmp_path / "out", "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert set(report) == {"output", "family", "parameters", "vocabulary", "ignored_keys"}
    assert (report["family"], report["vocabulary"]) == ("gpt", 8)
    assert "texts are cut as the model was trained" in outcome.stderr
    nlptl.register_families()
    assert type(AutoTokenizer.from_pretrained(tmp_path / "out" / "model")) is GptPaperTokenizer


def test_without_the_extra_the_tokenizer_is_the_fast_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt_release(tmp_path / "release")
    monkeypatch.setattr(conversion, "missing_package", lambda: "spacy")
    facts = import_release(tmp_path / "release", tmp_path / "out", heads=2)
    assert "because spacy is not installed" in facts["notes"][0]
    nlptl.register_families()
    assert type(AutoTokenizer.from_pretrained(tmp_path / "out")) is GptTokenizer


def shapes_of(folder: Path, change: Callable[[list[list[int]]], object]) -> None:
    path = folder / "params_shapes.json"
    shapes = json.loads(path.read_text())
    change(shapes)
    path.write_text(json.dumps(shapes))


@pytest.mark.parametrize("package", [None, "spacy"])
@pytest.mark.parametrize(
    ("file", "old", "new", "cause"),
    [
        (
            "vocab_40000.bpe",
            "a b</w>",
            "a x</w>",
            "the merge of 'a' and 'x</w>' is of pieces that the vocab.*lacks",
        ),
        (
            "encoder_bpe_40000.json",
            "<unk>",
            "unknown",
            "the vocabulary lacks <unk>, in .*encoder_bpe_40000.json",
        ),
    ],
)
def test_tokens_that_do_not_fit_are_refused_for_either_tokenizer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str | None,
    file: str,
    old: str,
    new: str,
    cause: str,
) -> None:
    gpt_release(tmp_path / "release")
    path = tmp_path / "release" / file
    path.write_text(path.read_text().replace(old, new))
    monkeypatch.setattr(conversion, "missing_package", lambda: package)
    with pytest.raises(ModelError, match=cause):
        import_release(tmp_path / "release", tmp_path / "out", heads=2)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda f: (f / "params_3.npy").unlink(), "a piece of the weights is missing, no .*params_3.npy"),
        (lambda f: (f / "params_3.npy").write_bytes(b"x"), "not a file of numbers, in .*params_3.npy"),
        (lambda f: np.save(f / "params_3.npy", np.array([{}])), "not a file of numbers, in .*params_3.npy"),
        (lambda f: np.save(f / "params_3.npy", np.ones((2, 2))), "not one row of numbers, in .*params_3.npy"),
        (lambda f: np.save(f / "params_3.npy", np.ones(3, np.float32)), "numbers where the shapes ask for"),
        (
            lambda f: np.save(f / "params_3.npy", np.load(f / "params_3.npy") * np.nan),
            "numbers that are not finite",
        ),
        (lambda f: (f / "params_shapes.json").unlink(), "no list of shapes \\(FileNotFoundError\\)"),
        (
            lambda f: (f / "params_shapes.json").write_text("[" * 9**5),
            "no list of shapes \\(RecursionError\\)",
        ),
        (lambda f: (f / "params_shapes.json").write_text("[]"), "not a list of shapes of tensors"),
        (lambda f: shapes_of(f, lambda x: x.pop()), "not those of positions, tokens and whole layers"),
        (lambda f: shapes_of(f, lambda x: x[2].append(5)), "not a list of shapes of tensors"),
        (lambda f: shapes_of(f, lambda x: x[3].__setitem__(0, 13)), "not those of positions, tokens"),
        (lambda f: shapes_of(f, lambda x: x[1].__setitem__(0, 10**12)), "not a list of shapes of tensors"),
        (lambda f: shapes_of(f, lambda x: x[1].__setitem__(0, 2**30)), "numbers where the shapes ask for"),
        (
            lambda f: (f / "encoder_bpe_40000.json").write_text('{"<unk>": 0}'),
            "a vocabulary of 1 for a model of 8",
        ),
        (lambda f: (f / "encoder_bpe_40000.json").write_text("[" * 9**5), "the vocabulary cannot be read"),
    ],
)
def test_what_is_no_release_is_refused(tmp_path: Path, change: Callable[[Path], object], cause: str) -> None:
    folder = tmp_path / "release"
    gpt_release(folder)
    change(folder)
    with pytest.raises(ModelError, match=cause):
        import_release(folder, tmp_path / "out", heads=2)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_heads_must_divide_the_width(tmp_path: Path) -> None:
    gpt_release(tmp_path)
    with pytest.raises(ModelError, match=r"12 heads do not divide a width of 4.*; give the right --heads"):
        convert_weights(tmp_path, 12)
