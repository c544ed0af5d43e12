"""`nlptl finetune` on rows of all kinds: a limit, pairs, several labels, rare classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]
KEYS = {"output", "model", "family", "strategy", "labels", "train_examples", "epochs", "seconds"}
KEYS |= {"examples_per_second", "tokens_per_second", "peak_memory_mb", "validation", "test"}
SHORT = ("--epochs", 1, "--batch-size", 12, "--no-lm-tuning")


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


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
        30,
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
