"""`nlptl finetune`: what each of its choices does to the run, its folder and its figures."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import nlptl
from nlptl.commands.prediction import load_classifier
from nlptl.config import PredictConfig
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification

Command = Callable[..., CompletedProcess[str]]
KEYS = {"output", "model", "family", "strategy", "labels", "train_examples", "epochs", "seconds"}
KEYS |= {"examples_per_second", "tokens_per_second", "peak_memory_mb", "validation", "test"}
SHORT = ("--epochs", 1, "--batch-size", 12, "--no-lm-tuning")


@pytest.fixture
def finetune(
    command: Command, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Fine-tunes into `tmp_path / "run"` and gives the report, what was said added to it."""

    def run(*words: Any, model: Path = language_model_folder, data: Path = labelled_file) -> dict[str, Any]:
        line = ("finetune", "--model", model, "--data", data, "-o", tmp_path / "run", "--json")
        outcome = command(*line, *words)
        assert outcome.returncode == 0, outcome.stderr
        return {**json.loads(outcome.stdout), "said": outcome.stderr}

    return run


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def classifier(folder: Path) -> Any:
    nlptl.register_families()
    return AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()


# --- the run's folder


def test_the_report_and_the_folder_are_what_the_contract_says(
    finetune: Callable[..., dict[str, Any]], labelled_file: Path, tmp_path: Path
) -> None:
    report = finetune(*SHORT, "--test", labelled_file)
    report.pop("said")
    assert set(report) == KEYS
    assert (report["family"], report["strategy"], report["labels"]) == (
        "ulmfit",
        "fine-tune",
        ["bad", "good"],
    )
    assert (report["train_examples"], report["validation"]["examples"], report["test"]["examples"]) == (
        36,
        4,
        40,
    )
    assert report["epochs"] == 1.0
    assert report["examples_per_second"] > 0

    folder = tmp_path / "run"
    names = {"config.yaml", "model", "metrics.json", "log.jsonl", "checkpoints", "README.md"}
    found = {path.name for path in folder.iterdir()}
    assert names <= found
    assert not [name for name in found if name.startswith(".")], "half-written"
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == report
    assert (
        len([path for path in (folder / "checkpoints").iterdir() if path.name.startswith("checkpoint-")]) == 1
    )
    inside = {path.name for path in (folder / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= inside
    line = next(line for line in log(folder) if "loss" in line)
    assert {"step", "epoch", "loss", "learning_rates", "trained", "tokens_per_second"} <= set(line)


def test_the_saved_config_runs_again_to_the_same_model(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    outcome = command("finetune", classifier_folder / "config.yaml", "-o", tmp_path / "again")
    assert outcome.returncode == 0, outcome.stderr
    first, second = (
        folder / "model" / "model.safetensors" for folder in (classifier_folder, tmp_path / "again")
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_dry_run_writes_nothing(finetune: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    plan = finetune(*SHORT, "--dry-run", "--max-length", 4)
    assert plan["rows"] == {"train": 36, "validation": 4, "test": 0}
    assert plan["labels"] == {"good": 18, "bad": 18}
    assert plan["truncated_texts"] == 36
    assert {"parameters", "steps", "memory_mb", "text_lengths", "truncated_tokens"} <= set(plan)
    assert list(tmp_path.iterdir()) == []


def test_what_a_length_limit_cuts_is_said_and_noted_in_the_card(
    finetune: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    said = finetune(*SHORT, "--max-length", 4)["said"]
    assert "36 of 36 training texts were cut by --max-length" in said
    assert "4 of 4 validation texts were cut by --max-length" in said
    assert "36 of 36 training texts were cut" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


# --- rows and labels


def test_a_limit_is_a_balanced_sample_of_all_labelled_rows(finetune: Callable[..., dict[str, Any]]) -> None:
    report = finetune(*SHORT, "--limit", 20)
    assert report["train_examples"] + report["validation"]["examples"] == 20
    support = {label: figures["support"] for label, figures in report["validation"]["per_class"].items()}
    assert support == {"bad": 1, "good": 1}


def test_pairs_of_texts_are_read_together(finetune: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    # Only the second text tells the label.
    rows = [
        {"first": "the film", "second": ("is great", "was awful")[i % 2], "label": ("good", "bad")[i % 2]}
        for i in range(40)
    ]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    columns = ("--text-column", "first", "--text-pair-column", "second")
    words = (
        "--epochs",
        12,
        "--batch-size",
        8,
        "--no-lm-tuning",
        "--learning-rate",
        0.05,
        "--no-gradual-unfreezing",
    )
    assert finetune(*words, *columns, data=data)["validation"]["accuracy"] == 1.0


@pytest.mark.parametrize("strategy", ["fine-tune", "freeze"])
def test_several_labels_a_text(
    strategy: str, finetune: Callable[..., dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    subjects = {"film": "the film", "music": "the music"}
    rows = []
    for i in range(40):
        chosen = [name for place, name in enumerate(subjects) if (i >> place) & 1]
        rows.append({"text": " and ".join(subjects[name] for name in chosen) or "nothing", "label": chosen})
    data = write_rows(tmp_path / "multi.jsonl", rows)
    more = ("--class-weight", "balanced", "--strategy", strategy)
    report = finetune(*SHORT, *more, data=data)
    assert report["labels"] == ["film", "music"]
    assert report["validation"]["confusion_matrix"] is None
    outcome = command(
        "predict", "-", "--model", tmp_path / "run", "--probabilities", stdin=b"the film\nnothing\n"
    )
    for line in outcome.stdout.splitlines():
        row = json.loads(line)
        assert row["label"] == [name for name, p in row["probabilities"].items() if p >= 0.5]


@pytest.mark.parametrize("strategy", ["fine-tune", "freeze"])
def test_balanced_class_weights_favour_the_rare_class(
    strategy: str, finetune: Callable[..., dict[str, Any]], tmp_path: Path, command: Command
) -> None:
    # Every text is the same, so that the probability of a class is its share of the loss.
    rows = [{"text": "the film", "label": "rare" if i % 8 == 0 else "often"} for i in range(64)]
    data = write_rows(tmp_path / "skewed.jsonl", rows)
    words = (
        "--strategy",
        strategy,
        "--batch-size",
        64,
        "--no-lm-tuning",
        "--epochs",
        30,
        "--learning-rate",
        0.1,
    )
    rare = {}
    for weight in ("none", "balanced"):
        finetune(*words, "--class-weight", weight, "--force", data=data)
        outcome = command("predict", "-", "--model", tmp_path / "run", "--probabilities", stdin=b"the film\n")
        rare[weight] = json.loads(outcome.stdout)["probabilities"]["rare"]
    assert rare["none"] < 0.3  # about an eighth
    assert 0.6 > rare["balanced"] > rare["none"] + 0.1  # about a half


# --- how it is trained


def test_layers_are_unfrozen_one_an_epoch_and_lower_ones_learn_more_slowly(
    finetune: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    words = (
        "--epochs",
        3,
        "--batch-size",
        12,
        "--no-lm-tuning",
        "--discriminative-decay",
        2,
        "--set",
        "log_steps=1",
    )
    finetune(*words)
    lines = [line for line in log(tmp_path / "run") if "loss" in line]
    assert [sum(line["trained"]) for line in lines] == [1] * 3 + [2] * 3 + [3] * 3
    for line in lines:
        rates = line["learning_rates"]
        assert rates == pytest.approx([rates[-1] / 2**depth for depth in reversed(range(4))])

    finetune(*words, "--no-gradual-unfreezing", "--force")
    assert all(all(line["trained"]) for line in log(tmp_path / "run") if "loss" in line)


def test_early_stopping_ends_the_run_and_keeps_the_best_model(
    finetune: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    # A rate so high that no later epoch is better than the first few.
    words = (
        "--epochs",
        40,
        "--batch-size",
        12,
        "--no-lm-tuning",
        "--learning-rate",
        1.0,
        "--schedule",
        "constant",
    )
    report = finetune(*words, "--early-stopping", 2)
    scores = [
        (line["evaluation"]["accuracy"], -line["evaluation"]["log_loss"])
        for line in log(tmp_path / "run")
        if "evaluation" in line
    ]
    assert report["epochs"] == len(scores) < 40
    assert scores.index(max(scores)) == len(scores) - 3
    assert report["validation"]["accuracy"] == pytest.approx(max(scores)[0])
    assert report["validation"]["log_loss"] == pytest.approx(-max(scores)[1], rel=1e-4)


def test_the_language_model_is_tuned_on_the_task_and_on_further_text_first(
    finetune: Callable[..., dict[str, Any]], tmp_path: Path, text_file: Path, language_model_folder: Path
) -> None:
    tuning = (
        "--set",
        "lm.epochs=1",
        "--set",
        "lm.batch_size=2",
        "--set",
        "lm.bptt=16",
        "--set",
        "log_steps=1",
    )
    words = ("--epochs", 1, "--batch-size", 12, *tuning)
    lm = tmp_path / "run" / "lm"
    steps = {}
    for name, more in {"task": ("--lm-tuning",), "task and text": ("--lm-text", text_file)}.items():
        finetune(*words, *more, "--force")
        steps[name] = json.loads((lm / "metrics.json").read_text(encoding="utf-8"))["steps"]
        assert {"model", "log.jsonl", "metrics.json"} <= {path.name for path in lm.iterdir()}
    assert steps["task and text"] > 2 * steps["task"] > 0

    tuned = AutoModelForCausalLM.from_pretrained(lm / "model")
    before = AutoModelForCausalLM.from_pretrained(language_model_folder / "model")
    assert not torch.equal(tuned.encoder.layers[0].weight_hh_l0, before.encoder.layers[0].weight_hh_l0)


def test_text_to_tune_on_without_tuning_is_refused(
    command: Command, language_model_folder: Path, labelled_file: Path, text_file: Path, tmp_path: Path
) -> None:
    line = ("finetune", "--model", language_model_folder, "--data", labelled_file, "-o", tmp_path / "run")
    outcome = command(*line, "--lm-text", text_file, "--no-lm-tuning")
    assert outcome.returncode == 2
    assert "leave one of them out" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_two_directions_become_one_model_that_averages_their_probabilities(
    finetune: Callable[..., dict[str, Any]], backward_language_model_folder: Path, tmp_path: Path
) -> None:
    finetune(*SHORT, "--backward-model", backward_language_model_folder)
    model = classifier(tmp_path / "run")
    assert model.config.bidirectional
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    ids = tokenizer("the music shines brightly.", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        vectors = model.represent(ids)
        apart = [head(vector).softmax(1) for head, vector in zip(model.heads(), vectors, strict=True)]
        together = model(ids).logits.softmax(1)
    assert not torch.allclose(apart[0], apart[1], atol=1e-3)
    torch.testing.assert_close(together, torch.stack(apart).mean(dim=0))


def test_a_pair_of_models_in_the_wrong_direction_is_refused(
    command: Command, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    line = ("finetune", "--model", language_model_folder, "--data", labelled_file, "-o", tmp_path / "run")
    outcome = command(*line, "--backward-model", language_model_folder)
    assert outcome.returncode == 2
    assert "a forward language model where the backward one is due" in outcome.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_a_tracker_gets_the_log(finetune: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    finetune(*SHORT, "--set", "tracker=tensorboard", "--set", "log_steps=1")
    events = list(tmp_path.rglob("events.out.tfevents.*"))
    assert events
    assert sum(file.stat().st_size for file in events) > 500


# --- freeze


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
