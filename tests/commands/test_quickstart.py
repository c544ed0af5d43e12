"""`nlptl quickstart`: everything at once, offline, from the sample that ships to three predicted texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nlptl.commands import quickstart
from nlptl.pretrained.models import find_model

Command = Callable[..., CompletedProcess[str]]
LABELS = ["account", "billing", "delivery", "question", "returns", "technical"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, language_model_folder: Path) -> None:
    """The same run in seconds, from a tiny model."""
    model = {"model": str(language_model_folder), "architecture": {}}
    shorter = {**model, "epochs": 1, "lm": {"epochs": 1}, "limit": 60}
    monkeypatch.setattr(quickstart, "FINETUNING", {**quickstart.FINETUNING, **shorter})
    monkeypatch.setattr("nlptl.evaluation.baseline.CANDIDATES", ((False, False, 10.0),))


def begun(folder: Path) -> None:
    """What a quickstart that was cut short leaves."""
    (folder / "classifier" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (folder / "classifier" / "config.yaml").write_text("model: ulmfit-mini\n", encoding="utf-8")
    (folder / "classifier" / "data.json").write_text('{"fingerprint": "0123"}', encoding="utf-8")


def test_it_starts_from_a_model_that_ships() -> None:
    found = find_model(str(quickstart.FINETUNING["model"]), offline=True)
    assert found.is_language_model
    assert found.has_tokenizer


@pytest.mark.usefixtures("small")
def test_it_trains_measures_beside_the_baseline_and_predicts(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    begun(folder)
    (folder / "notes.txt").touch()
    outcome = command("quickstart", "--json", "-o", folder, "--force")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert set(report) == {"output", "model", "seconds", "test", "tfidf", "comparison", "predictions"}
    assert report["test"]["examples"] == report["tfidf"]["examples"] > 100
    assert report["tfidf"]["accuracy"] > 0.5, "the columns of the baseline are not those of the labels"
    difference = report["test"]["accuracy"] - report["tfidf"]["accuracy"]
    assert report["comparison"]["accuracy_difference"] == pytest.approx(difference)
    assert [row["text"] for row in report["predictions"]] == list(quickstart.EXAMPLES)
    assert all(row["label"] in LABELS and 0 < row["probability"] <= 1 for row in report["predictions"])

    # What it leaves is an ordinary classifier.
    inside = {"classifier", "metrics.json", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == inside
    predicted = command(
        "predict", "-", "--model", folder / "classifier", stdin=quickstart.EXAMPLES[0].encode()
    )
    row = json.loads(predicted.stdout)
    assert row["label"] == report["predictions"][0]["label"]
    assert row["probability"] == pytest.approx(report["predictions"][0]["probability"], abs=1e-6)


def test_a_dry_run_and_a_folder_in_use_change_nothing(command: Command, tmp_path: Path) -> None:
    assert command("quickstart", "--dry-run", "-o", tmp_path / "run").returncode == 0
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    refused = command("quickstart", "-o", tmp_path / "run")
    assert refused.returncode == 2
    assert "not empty" in refused.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    assert "--resume" not in refused.stderr


@pytest.mark.usefixtures("small")
def test_typed_again_it_starts_afresh_in_its_own_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun(tmp_path / "nlptl-quickstart")
    named = command("quickstart", "-o", "nlptl-quickstart")
    assert (named.returncode, "not empty" in named.stderr) == (2, True)
    outcome = command("quickstart", "--json")
    assert outcome.returncode == 0, outcome.stderr
    folder = tmp_path / "nlptl-quickstart"
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == json.loads(outcome.stdout)
    assert not (folder / "classifier" / "checkpoints" / "checkpoint-1").exists()


def test_a_folder_of_its_default_name_that_another_made_is_left_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "nlptl-quickstart" / "classifier" / "model"
    mine.mkdir(parents=True)
    (mine / "mine").touch()
    for words in ((), ("--force",)):
        outcome = command("quickstart", *words)
        assert outcome.returncode == 2
        assert [path.name for path in mine.iterdir()] == ["mine"]
