"""`nlptl finetune --strategy freeze`: the body stays as it is and is run once."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import nlptl
from nlptl.commands.prediction import load_classifier
from nlptl.config import PredictConfig
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.nn.token_head import TokenHead
from nlptl.strategies import freeze

Command = Callable[..., CompletedProcess[str]]
KEYS = {"output", "model", "family", "strategy", "labels", "train_examples", "epochs", "seconds"}
KEYS |= {"examples_per_second", "tokens_per_second", "peak_memory_mb", "validation", "test"}
SHORT = ("--epochs", 1, "--batch-size", 12, "--no-lm-tuning")


def classifier(folder: Path) -> Any:
    nlptl.register_families()
    return AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()


def test_a_frozen_body_keeps_its_weights_and_its_classifier_is_one_linear_layer(
    finetune: Callable[..., dict[str, Any]], language_model_folder: Path, tmp_path: Path
) -> None:
    report = finetune("--strategy", "freeze")
    assert set(report) - {"said"} == KEYS
    assert report["strategy"] == "freeze"
    model = classifier(tmp_path / "run")
    assert isinstance(model.head, torch.nn.Linear)
    before = AutoModelForCausalLM.from_pretrained(language_model_folder / "model").encoder.state_dict()
    for name, weight in model.encoder.state_dict().items():
        assert torch.equal(weight, before[name]), name
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "model", "metrics.json", "README.md"} <= names
    assert "lm" not in names


def test_the_mlp_head_is_trained_on_the_frozen_body(
    finetune: Callable[..., dict[str, Any]], language_model_folder: Path, tmp_path: Path
) -> None:
    report = finetune("--strategy", "freeze", "--head", "mlp")
    assert re.search(r"chosen on the validation texts: learning rate 0\.\d+, .*epoch \d+", report["said"])
    model = classifier(tmp_path / "run")
    assert not isinstance(model.head, torch.nn.Linear)
    before = AutoModelForCausalLM.from_pretrained(language_model_folder / "model").encoder.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in model.encoder.state_dict().items())


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "TOKEN_HEAD", dataclasses.replace(freeze.TOKEN_HEAD, epochs=4))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """One entry each time that a body is run, from an empty cache on."""
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    made: list[int] = []
    represent = UlmfitForSequenceClassification.represent

    def counted(self: Any, *inputs: Any) -> Any:
        made.append(1)
        return represent(self, *inputs)

    monkeypatch.setattr(UlmfitForSequenceClassification, "represent", counted)
    return made


def test_features_are_computed_once_for_a_model_and_a_text(
    finetune: Callable[..., dict[str, Any]],
    passes: list[int],
    tmp_path: Path,
    tiny_language_model: Callable[..., Path],
) -> None:
    first = finetune("--strategy", "freeze")
    assert passes
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    passes.clear()
    second = finetune("--strategy", "freeze", "--force")
    assert not passes
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    assert first["validation"] == second["validation"]
    finetune("--strategy", "freeze", "--head", "mlp", "--force")
    assert not passes, "another head is fitted on the same features"
    finetune("--strategy", "freeze", "--force", model=tiny_language_model(seed=1))
    assert passes, "another model has other features"


def test_a_frozen_bidirectional_body_has_a_head_a_direction(
    finetune: Callable[..., dict[str, Any]], backward_language_model_folder: Path, tmp_path: Path
) -> None:
    finetune("--strategy", "freeze", "--backward-model", backward_language_model_folder)
    model = classifier(tmp_path / "run")
    assert [type(head) for head in model.heads()] == [torch.nn.Linear] * 2
    loaded = load_classifier(str(tmp_path / "run"), PredictConfig(device="cpu", precision="fp32"))
    (_, probabilities), *_ = loaded.stream([{"text": "the film is great."}])
    assert np.isclose(probabilities.sum(), 1)


def test_the_head_of_tokens_from_the_command_line_to_its_predictions(
    finetune: Callable[..., dict[str, Any]],
    command: Command,
    language_model_folder: Path,
    passes: list[int],
    tmp_path: Path,
) -> None:
    report = finetune("--strategy", "freeze", "--head", "bilstm-attention")
    assert set(report) - {"said"} == KEYS
    assert (report["epochs"], report["validation"]["examples"]) == (1.0, 4)
    forecast = r"token features: 40 texts, [\d,]+ tokens x 2 layers x 8 in half precision = 0\.\d MB in "
    assert re.search(forecast + re.escape(str(tmp_path / "cache")), report["said"])
    assert re.search(r"chosen on the validation texts: learning rate 0\.\d+, .*epoch \d+", report["said"])
    assert passes
    model = classifier(tmp_path / "run")
    assert isinstance(model.head, TokenHead)
    before = AutoModelForCausalLM.from_pretrained(language_model_folder / "model").encoder.state_dict()
    assert all(torch.equal(model.encoder.state_dict()[name], tensor) for name, tensor in before.items())

    outcome = command(
        "predict", "--model", tmp_path / "run", "-", stdin=b"the film is great.\nher acting was awful.\n\n"
    )
    assert outcome.returncode == 0, outcome.stderr
    answers = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [answer["label"] in ("good", "bad") for answer in answers] == [True] * 3

    passes.clear()
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    again = finetune("--strategy", "freeze", "--head", "bilstm-attention", "--force")
    assert not passes, "the second run reads what the first one wrote"
    assert "token features:" not in again["said"]
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    assert again["validation"] == report["validation"]
    finetune("--strategy", "freeze", "--force")
    assert passes, "vectors of documents are others"


def test_the_head_of_tokens_of_several_labels_in_two_directions(
    finetune: Callable[..., dict[str, Any]],
    backward_language_model_folder: Path,
    reviews: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    data = tmp_path / "several.jsonl"
    rows = [{"text": text, "label": [label, *["film"] * ("film" in text)]} for text, label in reviews[:40]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("--backward-model", backward_language_model_folder, "--class-weight", "balanced")
    report = finetune("--strategy", "freeze", "--head", "bilstm-attention", *words, data=data)
    assert report["labels"] == ["bad", "film", "good"]
    assert "tokens x 2 heads x 2 layers x 8" in report["said"]
    assert re.search(r"chosen on the validation texts: head 1: .*; head 2: ", report["said"])
    model = classifier(tmp_path / "run")
    assert [type(head) for head in model.heads()] == [TokenHead] * 2
    assert model.config.problem_type == "multi_label_classification"


def test_token_features_that_the_disk_has_no_room_for_are_refused(
    command: Command,
    language_model_folder: Path,
    labelled_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nlptl.strategies.token_features.SPARE_BYTES", 10**18)
    line = ("finetune", "--model", language_model_folder, "--data", labelled_file, "-o", tmp_path / "run")
    outcome = command(*line, "--strategy", "freeze", "--head", "bilstm-attention")
    assert outcome.returncode == 1
    assert "the token features take" in outcome.stderr
    assert "NLPTL_CACHE" in outcome.stderr
    assert not list(tmp_path.glob("cache/features/*"))
    assert not (tmp_path / "run" / "model").exists()
