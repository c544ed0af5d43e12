"""`nlptl evaluate` reports figures that follow from its predictions, writes them whole, and compares two runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow.parquet as pq
import pytest

from nlptl.commands.prediction import load_classifier
from nlptl.config import PredictConfig

Command = Callable[..., CompletedProcess[str]]
METRICS = {"examples", "accuracy", "accuracy_interval", "macro_f1", "mcc", "log_loss", "ece", "roc_auc"}
METRICS |= {"per_class", "confusion_matrix"}


@pytest.fixture
def held_out_file(reviews: list[tuple[str, str]], tmp_path: Path) -> Path:
    """Reviews that no classifier was trained on, one of which has the wrong label."""
    rows = [{"text": text, "label": label} for text, label in reviews[60:80]]
    rows[0]["label"] = "bad" if rows[0]["label"] == "good" else "good"
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_figures_follow_from_the_predictions(
    command: Command, classifier_folder: Path, held_out_file: Path
) -> None:
    outcome = command("evaluate", "--model", classifier_folder, "--data", held_out_file, "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert set(report) == METRICS

    rows = [json.loads(line) for line in held_out_file.read_text(encoding="utf-8").splitlines()]
    classifier = load_classifier(str(classifier_folder), PredictConfig(device="cpu", precision="fp32"))
    predicted = [classifier.decide(p) for _, p in classifier.stream(rows)]
    counts = [
        [
            sum(r["label"] == true and p == said for r, p in zip(rows, predicted, strict=True))
            for said in ("bad", "good")
        ]
        for true in ("bad", "good")
    ]
    assert report["confusion_matrix"] == {"labels": ["bad", "good"], "counts": counts}
    assert report["examples"] == 20
    assert report["accuracy"] == pytest.approx((counts[0][0] + counts[1][1]) / 20)
    low, high = report["accuracy_interval"]
    assert 0 <= low <= report["accuracy"] <= high <= 1
    assert set(report["per_class"]["good"]) == {"precision", "recall", "f1", "support"}


def test_an_output_folder_holds_figures_predictions_and_a_page(
    command: Command, classifier_folder: Path, held_out_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    words = ("evaluate", "--model", classifier_folder, "--data", held_out_file, "--output", folder, "--json")
    outcome = command(*words)
    assert outcome.returncode == 0, outcome.stderr
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "predictions.parquet", "report.html"}
    report = json.loads(outcome.stdout)
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == report

    table = pq.read_table(folder / "predictions.parquet")
    assert table.column_names[:5] == ["row", "text", "label", "prediction", "probabilities"]
    rows = table.to_pylist()
    given = [json.loads(line) for line in held_out_file.read_text(encoding="utf-8").splitlines()]
    assert [(row["row"], row["text"], row["label"]) for row in rows] == [
        (number, row["text"], row["label"]) for number, row in enumerate(given)
    ]
    assert table.schema.metadata[b"labels"].decode().split("\n") == ["bad", "good"]
    assert np.mean([row["label"] == row["prediction"] for row in rows]) == pytest.approx(report["accuracy"])
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-6)
        assert ["bad", "good"][int(np.argmax(row["probabilities"]))] == row["prediction"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert "20 labelled texts were measured" in page
    assert "no text was cut: all " in page
    assert re.search(r"<dt>trained on</dt><dd>\d+ texts of .*, \d+ for validation", page)

    again = command(*words)
    assert again.returncode == 2
    assert "not empty" in again.stderr
    assert "--resume" not in again.stderr


def test_force_replaces_a_report_and_leaves_other_files_alone(
    command: Command, classifier_folder: Path, held_out_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    words = ("evaluate", "--model", classifier_folder, "--data", held_out_file, "--output", folder)
    assert command(*words).returncode == 0
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    assert command(*words, "--force").returncode == 0
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["examples"] == 20


def test_a_run_compared_with_itself_differs_by_nothing(
    command: Command, classifier_folder: Path, held_out_file: Path
) -> None:
    words = ("evaluate", "--model", classifier_folder, "--data", held_out_file, "--json")
    report = json.loads(command(*words, "--compare", classifier_folder).stdout)
    assert set(report) == METRICS | {"comparison"}
    found = report["comparison"]
    assert (found["accuracy_difference"], found["mcnemar_p"]) == (0.0, 1.0)
    low, high = found["interval"]
    assert low < 0 < high == pytest.approx(-low)  # on other rows two such runs might differ


def test_two_runs_differ_by_their_accuracies_whatever_the_order_of_their_labels(
    command: Command,
    classifier_folder: Path,
    tiny_classifier: Callable[..., Path],
    reviews: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    # A model with its labels turned round and its data too, so that the second column is the first run's first.
    names = {"good": "0 bad", "bad": "1 good"}
    turned, plain = tmp_path / "turned.jsonl", tmp_path / "plain.jsonl"
    for file, rename in ((turned, names), (plain, {})):
        rows = [{"text": text, "label": rename.get(label, label)} for text, label in reviews[:40]]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    other = tiny_classifier(data=str(turned), epochs=1, seed=3)
    config = other / "model" / "config.json"
    said = config.read_text(encoding="utf-8")
    for old, new in (("0 bad", "good"), ("1 good", "bad")):
        said = said.replace(f'"{old}"', f'"{new}"')
    config.write_text(said, encoding="utf-8")

    words = ("evaluate", "--data", plain, "--json", "--model")
    first, second = (json.loads(command(*words, m).stdout) for m in (classifier_folder, other))
    assert second["confusion_matrix"]["labels"] == ["good", "bad"]
    both = json.loads(command(*words, classifier_folder, "--compare", other).stdout)
    difference = first["accuracy"] - second["accuracy"]
    assert both["comparison"]["accuracy_difference"] == pytest.approx(difference)
    low, high = both["comparison"]["interval"]
    assert low <= difference <= high


def test_runs_of_other_labels_are_not_compared(
    command: Command,
    classifier_folder: Path,
    tiny_classifier: Callable[..., Path],
    held_out_file: Path,
    tmp_path: Path,
) -> None:
    rows = [{"text": f"{w} film", "label": "yes" if i % 2 else "no"} for i, w in enumerate("abcdefghij")]
    file = tmp_path / "other.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    other = tiny_classifier(data=str(file), epochs=1)
    outcome = command("evaluate", "--model", classifier_folder, "--data", held_out_file, "--compare", other)
    assert outcome.returncode == 2
    assert "no, yes" in outcome.stderr
    assert "bad, good" in outcome.stderr


def test_an_accuracy_below_the_threshold_is_exit_code_1_with_the_figures_printed(
    command: Command, classifier_folder: Path, held_out_file: Path
) -> None:
    words = ("evaluate", "--model", classifier_folder, "--data", held_out_file, "--json", "--min-accuracy")
    missed = command(*words, "1.0")  # one label is wrong
    assert missed.returncode == 1
    assert set(json.loads(missed.stdout)) == METRICS
    assert "below the 1 asked for" in missed.stderr
    assert command(*words, "0.0").returncode == 0


def test_labels_that_the_model_does_not_know_are_named_or_skipped(
    command: Command, classifier_folder: Path, held_out_file: Path
) -> None:
    with held_out_file.open("a", encoding="utf-8") as file:
        file.write('{"text": "fine", "label": "so-so"}\n' * 3)
    words = ("evaluate", "--model", classifier_folder, "--data", held_out_file, "--json")
    refused = command(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "so-so" in refused.stderr
    assert "3" in refused.stderr
    skipped = command(*words, "--unknown-labels", "skip")
    assert json.loads(skipped.stdout)["examples"] == 20
    assert "so-so" in skipped.stderr


def test_a_dry_run_measures_and_writes_nothing(
    command: Command, classifier_folder: Path, held_out_file: Path, tmp_path: Path
) -> None:
    words = (
        "evaluate",
        "--model",
        classifier_folder,
        "--data",
        held_out_file,
        "--output",
        tmp_path / "report",
    )
    plan = json.loads(command(*words, "--dry-run", "--json").stdout)
    assert plan["rows"] == 20
    assert plan["text_lengths"]["longest"] >= plan["text_lengths"]["median"] > 0
    assert not (tmp_path / "report").exists()


def test_what_a_length_limit_cuts_is_said(
    command: Command, classifier_folder: Path, held_out_file: Path
) -> None:
    outcome = command("evaluate", "--model", classifier_folder, "--data", held_out_file, "--max-length", 4)
    assert "20 of 20 texts were cut by --max-length" in outcome.stderr
