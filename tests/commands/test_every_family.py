"""Each family by the command line, from raw text to a measured classifier, with the reports that are promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]
PRETRAINED = {"output", "model", "family", "parameters", "vocabulary", "train_tokens", "steps", "seconds"}
PRETRAINED |= {"tokens_per_second", "peak_memory_mb", "validation"}
FINETUNED = {"output", "model", "family", "strategy", "labels", "train_examples", "epochs", "seconds"}
FINETUNED |= {"examples_per_second", "tokens_per_second", "peak_memory_mb", "validation", "test"}
METRICS = {"examples", "accuracy", "accuracy_interval", "macro_f1", "mcc", "log_loss", "ece", "roc_auc"}
METRICS |= {"per_class", "confusion_matrix"}
HELD_OUT = {"tokens", "loss", "perplexity", "bits_per_character"}
SMALL = {
    "ulmfit": ("architecture.embedding_size=8", "architecture.hidden_size=12"),
    "elmo": ("architecture.projection_size=4", "architecture.cell_size=6"),
    "wordvectors": ("architecture.embedding_size=8",),
    "gpt": ("architecture.n_embd=8",),
    "transformer": ("architecture.width=8", "architecture.feed_forward_width=16"),
}
NO_LOSS = ("wordvectors",)  # a table of vectors predicts no token
NO_BITS = ("transformer",)  # which predicts a part of its text
TUNED_FIRST = ("ulmfit", "elmo")  # as the family's recipe has it


@pytest.fixture
def report(command: Command) -> Callable[..., dict[str, Any]]:
    """Runs a command line with `--json` and gives what it printed."""

    def run(*words: Any) -> dict[str, Any]:
        outcome = command(*words, "--json")
        assert outcome.returncode == 0, outcome.stderr
        found: dict[str, Any] = json.loads(outcome.stdout)
        return found

    return run


@pytest.mark.parametrize("family", SMALL)
def test_pretrain_finetune_predict_evaluate(
    family: str,
    report: Callable[..., dict[str, Any]],
    command: Command,
    text_file: Path,
    labelled_file: Path,
    tmp_path: Path,
) -> None:
    if family == "wordvectors":
        pytest.importorskip("gensim", reason="gensim trains the vectors")
    changes = [word for change in SMALL[family] for word in ("--set", change)]
    lm, run = tmp_path / "lm", tmp_path / "run"
    begun = ("pretrain", "--family", family, "--size", "tiny", "--vocab-size", 400, "--text", text_file)
    made = report(*begun, "-o", lm, "--epochs", 1, "--batch-size", 4, "--bptt", 16, *changes)
    assert set(made) == PRETRAINED
    assert (made["family"], made["model"]) == (family, str(lm / "model"))
    held_out = made["validation"]
    assert set(held_out) == HELD_OUT
    assert held_out["tokens"] > 0
    absent = set(held_out) - {"tokens"} if family in NO_LOSS else set()
    absent |= {"bits_per_character"} if family in NO_BITS else set()
    assert {key for key, value in held_out.items() if value is None} == absent

    trained = ("finetune", "--model", lm, "--data", labelled_file, "--test", labelled_file)
    sizes = ("--epochs", 3, "--batch-size", 12, "--learning-rate", 0.02, "--set", "lm.epochs=1")
    tuned = report(*trained, "-o", run, *sizes)
    assert set(tuned) == FINETUNED
    assert (tuned["family"], tuned["labels"]) == (family, ["bad", "good"])
    assert set(tuned["validation"]) == set(tuned["test"]) == METRICS
    assert (run / "lm" / "model").is_dir() == (family in TUNED_FIRST)

    told = command("predict", "--model", run, labelled_file)
    assert told.returncode == 0, told.stderr
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [set(row) for row in rows] == [{"label", "probability"}] * 40

    measured = report("evaluate", "--model", run, "--data", labelled_file)
    assert set(measured) == METRICS
    labels = [json.loads(line)["label"] for line in labelled_file.read_text(encoding="utf-8").splitlines()]
    right = sum(row["label"] == label for row, label in zip(rows, labels, strict=True))
    assert measured["accuracy"] == pytest.approx(right / 40)
    assert measured["accuracy"] == tuned["test"]["accuracy"]


@pytest.mark.parametrize("family", SMALL)
def test_a_dry_run_of_each_family_says_what_would_be_done_and_makes_nothing(
    family: str, report: Callable[..., dict[str, Any]], text_file: Path, tmp_path: Path
) -> None:
    changes = [word for change in SMALL[family] for word in ("--set", change)]
    plan = report(
        "pretrain", "--family", family, "--text", text_file, "-o", tmp_path / "lm", "--dry-run", *changes
    )
    assert (plan["command"], plan["family"]) == ("pretrain", family)
    assert min(plan["tokens"], plan["steps"], plan["parameters"]) > 0
    assert not (tmp_path / "lm").exists()
