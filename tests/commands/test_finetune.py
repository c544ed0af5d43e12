"""`nlptl finetune`: the folder and figures of a run, and how its layers are trained."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import nlptl

Command = Callable[..., CompletedProcess[str]]
KEYS = {"output", "model", "family", "strategy", "labels", "train_examples", "epochs", "seconds"}
KEYS |= {"examples_per_second", "tokens_per_second", "peak_memory_mb", "validation", "test"}
SHORT = ("--epochs", 1, "--batch-size", 12, "--no-lm-tuning")


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def classifier(folder: Path) -> Any:
    nlptl.register_families()
    return AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()


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
