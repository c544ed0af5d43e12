"""`nlptl finetune --strategy freeze`: the body stays as it is and is run once."""

from __future__ import annotations

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
    assert "learning rate 0" in report["said"]
    model = classifier(tmp_path / "run")
    assert not isinstance(model.head, torch.nn.Linear)
    before = AutoModelForCausalLM.from_pretrained(language_model_folder / "model").encoder.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in model.encoder.state_dict().items())


def test_features_are_computed_once_for_a_model_and_a_text(
    finetune: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    labelled_file: Path,
    tiny_language_model: Callable[..., Path],
) -> None:
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    passes = []
    represent = UlmfitForSequenceClassification.represent

    def counted(self: Any, *inputs: Any) -> Any:
        passes.append(1)
        return represent(self, *inputs)

    monkeypatch.setattr(UlmfitForSequenceClassification, "represent", counted)
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
