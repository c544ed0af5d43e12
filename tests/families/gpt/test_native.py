"""Native OpenAI GPT folders as models of the family: found, checked, loaded, and with the recorded numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel, OpenAIGPTModel, OpenAIGPTTokenizer

import nlptl
from nlptl.errors import ModelError
from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.modeling import GptForCausalLM, GptModel
from nlptl.pretrained.models import find_model

CLASSES = {
    "tiny": GptForCausalLM,
    "tiny_double_heads": GptForCausalLM,
    "tiny_classifier": GptForSequenceClassification,
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_recorded_folder_is_found_and_loads(
    recorded: Path, expected: dict[str, Tensor], name: str
) -> None:
    nlptl.register_families()
    found = find_model(str(recorded / name))
    assert found.family.name == "gpt"
    assert found.model_class is CLASSES[name]
    assert not found.has_tokenizer
    body = found.model_class.from_pretrained(found.path).base_model.eval()
    mask = expected["attention_mask"]
    with torch.inference_mode():
        states = body(expected["input_ids"], mask).last_hidden_state
    kept = mask.bool()
    torch.testing.assert_close(states[kept], expected["hidden_states.3"][kept], rtol=1e-5, atol=2e-5)


def test_a_native_classifier_has_the_recorded_scores_before_and_after_saving(
    recorded: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    model = GptForSequenceClassification.from_pretrained(recorded / "tiny_classifier")
    model.save_pretrained(tmp_path)
    assert {"head.weight", "head.bias"} <= load_file(tmp_path / "model.safetensors").keys()
    for each in (model, GptForSequenceClassification.from_pretrained(tmp_path)):
        with torch.inference_mode():
            found = each.eval()(
                expected["input_ids"], expected["attention_mask"], labels=expected["classifier.labels"]
            )
        torch.testing.assert_close(found.logits, expected["classifier.logits"], rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(found.loss, expected["classifier.loss"][0], rtol=1e-5, atol=2e-5)


# -- folders as users have them


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and its fast tokenizer, saved by `transformers`."""
    folder = tmp_path_factory.mktemp("native")
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.!"
    pieces = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "go", "od</w>", "ba", "bad</w>"]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    merges = [("g", "o"), ("o", "d</w>"), ("b", "a"), ("ba", "d</w>")]
    OpenAIGPTTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    config = OpenAIGPTConfig(vocab_size=len(pieces), n_positions=32, n_embd=8, n_layer=2, n_head=2)
    OpenAIGPTLMHeadModel(config).save_pretrained(folder)
    return folder


def test_one_is_fine_tuned_frozen_and_used(
    native: Path, command: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    labelled_file = tmp_path / "data.jsonl"
    rows = [
        {"text": f"it wasn't {word} no. {n}", "label": word} for word in ("good", "bad") for n in range(20)
    ]
    labelled_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for strategy in ("fine-tune", "freeze"):
        run = tmp_path / strategy
        line = ("finetune", "--model", native, "--data", labelled_file, "--strategy", strategy, "-o", run)
        outcome = command(*line, "--epochs", 1, "--json")
        assert outcome.returncode == 0, outcome.stderr
        assert "transformers" not in outcome.stderr  # nothing about types that do not match
        assert "36 of 36 texts looked at are cut into other tokens" in outcome.stderr
        config = json.loads((run / "model" / "config.json").read_text())
        assert config["model_type"] == "nlptl-gpt"
        assert config["new_tokens"] == 3
        assert config["extract_token_id"] == (config["vocab_size"] - 1 if strategy == "fine-tune" else None)
        told = command("predict", "--model", run, labelled_file)
        assert told.returncode == 0, told.stderr
        assert len(told.stdout.splitlines()) == 40


@pytest.mark.parametrize("old_files", [False, True])
def test_the_hub_s_way_of_writing_it_is_read(native: Path, tmp_path: Path, old_files: bool) -> None:
    """Without the prefix, with the causal masks as buffers, with the file or the two files of the tokenizer alone."""
    folder = tmp_path / "hub"
    shutil.copytree(native, folder)
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): x for name, x in tensors.items()}
    bare |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 32, 32) for layer in range(2)}
    save_file(bare, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer_config.json").unlink()
    if old_files:
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        (folder / "merges.txt").write_text(
            "#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])) + "\n"
        )
        config = json.loads((folder / "config.json").read_text())
        config |= {"n_ctx": 32, "n_special": 0, "predict_special_tokens": True, "summary_activation": None}
        (folder / "config.json").write_text(json.dumps(config))
    found = find_model(str(folder))
    assert found.is_language_model
    assert found.has_tokenizer
    tokenizer = found.load_tokenizer()
    assert len(tokenizer) == found.config["vocab_size"]
    assert tokenizer.tokenize("good bad go") == ["go", "od</w>", "bad</w>", "g", "o</w>"]
    before, after = GptForCausalLM.from_pretrained(native), GptForCausalLM.from_pretrained(folder)
    assert all(torch.equal(x, after.state_dict()[name]) for name, x in before.state_dict().items())


def test_a_vocabulary_without_its_merges_is_no_tokenizer(native: Path, tmp_path: Path) -> None:
    """`transformers` would take it for one that merges nothing."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(native / name, tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    assert not find_model(str(tmp_path)).has_tokenizer


def test_an_encoder_alone_is_one(tmp_path: Path) -> None:
    OpenAIGPTModel(
        OpenAIGPTConfig(vocab_size=9, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    ).save_pretrained(tmp_path)
    assert find_model(str(tmp_path)).model_class is GptModel


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: x.pop("transformer.h.1.ln_2.bias"), "h.1.ln_2.bias' is missing"),
        (lambda x: x.update({"transformer.h.2.ln_2.bias": torch.ones(8)}), "h.2.ln_2.bias' has the shape"),
        (
            lambda x: x.update({"transformer.h.2.attn.c_attn.bias": torch.ones(24)}),
            "c_attn.bias' has the shape",
        ),
        (lambda x: x.update({"transformer.h.0.ln_1.bias": torch.ones(9)}), "has the shape \\(9,\\)"),
    ],
)
def test_one_whose_tensors_are_not_the_config_s_is_refused(
    native: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], object], cause: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(native, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=cause):
        find_model(str(folder))
