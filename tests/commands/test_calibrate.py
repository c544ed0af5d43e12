"""`finetune --calibrate`, and `predict --min-probability`, which needs probabilities that mean something."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

import nlptl

Command = Callable[..., CompletedProcess[str]]
TRAINING = {"epochs": 6, "batch_size": 12, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def noisy_file(reviews: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of which a third is labelled at random: nobody can be sure of them."""
    draw = random.Random(0)
    file = tmp_path_factory.mktemp("noisy") / "train.jsonl"
    rows = [
        (text, draw.choice(["good", "bad"]) if draw.random() < 0.35 else label) for text, label in reviews
    ]
    file.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), encoding="utf-8"
    )
    return file


@pytest.fixture(scope="module")
def runs(tiny_classifier: Callable[..., Path], noisy_file: Path) -> Callable[..., tuple[Path, Path]]:
    """The same run without and with calibration."""

    def trained(**values: Any) -> tuple[Path, Path]:
        shared = {**TRAINING, "data": str(noisy_file), "validation_fraction": 0.4, **values}
        return tiny_classifier(**shared), tiny_classifier(**shared, calibrate=True)

    return trained


@pytest.fixture(scope="module", params=["fine-tune", "freeze", "both directions"])
def plain_and_calibrated(
    request: pytest.FixtureRequest,
    runs: Callable[..., tuple[Path, Path]],
    backward_language_model_folder: Path,
) -> tuple[Path, Path]:
    kinds: dict[str, dict[str, Any]] = {
        "fine-tune": {},
        "freeze": {"strategy": "freeze"},
        "both directions": {"backward_model": str(backward_language_model_folder)},
    }
    return runs(**kinds[request.param])


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def predicted(command: Command, model: Path, data: Path, *words: Any) -> list[dict[str, Any]]:
    outcome = command("predict", data, "--model", model, *words)
    assert outcome.returncode == 0, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_probabilities_change_and_labels_do_not(
    plain_and_calibrated: tuple[Path, Path], command: Command, noisy_file: Path
) -> None:
    plain, calibrated = (predicted(command, folder, noisy_file) for folder in plain_and_calibrated)
    assert [row["label"] for row in plain] == [row["label"] for row in calibrated]
    temperature = report(plain_and_calibrated[1])["calibration"]["temperature"]
    assert temperature != 1
    before, after = (np.array([row["probability"] for row in rows]) for rows in (plain, calibrated))
    odds_before, odds_after = np.log(before / (1 - before)), np.log(after / (1 - after))
    np.testing.assert_allclose(odds_after * temperature, odds_before, rtol=2e-3, atol=1e-3)


def test_every_reader_of_the_model_gives_the_calibrated_probabilities(
    plain_and_calibrated: tuple[Path, Path], command: Command, noisy_file: Path
) -> None:
    folder = plain_and_calibrated[1]
    rows = predicted(command, folder, noisy_file)[:10]
    nlptl.register_families()
    classify = pipeline("text-classification", model=str(folder / "model"), device="cpu")
    texts = [json.loads(line)["text"] for line in noisy_file.read_text(encoding="utf-8").splitlines()[:10]]
    assert [row["probability"] for row in rows] == pytest.approx(
        [one["score"] for one in classify(texts)], abs=1e-4
    )
    outcome = command("evaluate", "--model", folder, "--data", noisy_file, "--json")
    plain = command("evaluate", "--model", plain_and_calibrated[0], "--data", noisy_file, "--json")
    measured, before = json.loads(outcome.stdout), json.loads(plain.stdout)
    assert measured["accuracy"] == before["accuracy"]
    assert measured["log_loss"] != before["log_loss"]


def test_the_report_says_what_was_gained_and_that_it_is_in_sample(
    plain_and_calibrated: tuple[Path, Path],
) -> None:
    plain, calibrated = map(report, plain_and_calibrated)
    assert "calibration" not in plain
    figures = calibrated["calibration"]
    assert figures["examples"] == calibrated["validation"]["examples"]
    assert figures["before"]["log_loss"] == pytest.approx(plain["validation"]["log_loss"], abs=1e-5)
    assert figures["after"]["log_loss"] == pytest.approx(calibrated["validation"]["log_loss"], abs=1e-5)
    assert figures["after"]["log_loss"] <= figures["before"]["log_loss"]
    card = (plain_and_calibrated[1] / "README.md").read_text(encoding="utf-8")
    assert f"temperature {figures['temperature']:.3f}" in card
    assert "validation figures are of these same texts" in card


def test_several_labels_a_text_have_one_temperature(
    runs: Callable[..., tuple[Path, Path]], command: Command, noisy_file: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in noisy_file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["label"] = [row["label"], *(["music"] if "music" in row["text"] else [])]
    data = tmp_path / "several.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    folders = runs(data=str(data))
    plain, calibrated = (predicted(command, folder, data) for folder in folders)
    assert [row["label"] for row in plain] == [row["label"] for row in calibrated]
    assert report(folders[1])["calibration"]["temperature"] != 1


def test_a_model_from_before_there_was_a_temperature_has_1(classifier_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (classifier_folder / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    del config["calibration_temperature"]
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    scores = [
        pipeline("text-classification", model=str(folder), device="cpu")("the film is great")
        for folder in (model, classifier_folder / "model")
    ]
    assert scores[0] == scores[1]


def test_a_temperature_that_is_none_is_named(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (classifier_folder / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["calibration_temperature"] = 0
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    outcome = command("predict", "-", "--model", model, stdin=b"text\n")
    assert outcome.returncode == 2
    assert "calibration_temperature must be a positive number" in outcome.stderr


def test_it_cannot_be_set_by_hand(command: Command, language_model_folder: Path, tmp_path: Path) -> None:
    words = ("finetune", "--model", language_model_folder, "--data", "sample", "-o", tmp_path / "run")
    outcome = command(*words, "--set", "architecture.calibration_temperature=3")
    assert outcome.returncode == 2
    assert "calibration_temperature cannot be chosen" in outcome.stderr


class TestAbstaining:
    def test_only_rows_below_the_bound_have_no_label(
        self, command: Command, runs: Callable[..., tuple[Path, Path]], noisy_file: Path
    ) -> None:
        folder = runs()[1]
        rows = predicted(command, folder, noisy_file)
        bound = float(np.median([row["probability"] for row in rows]))
        outcome = command("predict", noisy_file, "--model", folder, "--min-probability", bound)
        found = [json.loads(line) for line in outcome.stdout.splitlines()]
        unsure = [row["probability"] < bound for row in rows]
        assert 0 < sum(unsure) < len(rows)
        assert found == [
            {**row, "label": None} if left_out else row for row, left_out in zip(rows, unsure, strict=True)
        ]
        assert f"{sum(unsure)} of {len(rows)} texts were given no label" in outcome.stderr

        table = command(
            "predict", noisy_file, "--model", folder, "--min-probability", bound, "--format", "csv"
        )
        cells = list(csv.DictReader(io.StringIO(table.stdout)))
        assert [row["label"] for row in cells] == [row["label"] or "" for row in found]

    def test_the_report_counts_them(
        self, command: Command, classifier_folder: Path, labelled_file: Path, tmp_path: Path
    ) -> None:
        words = ("predict", labelled_file, "--model", classifier_folder, "--json", "-o", tmp_path / "rows")
        said = json.loads(command(*words, "--min-probability", 1).stdout)
        assert said["abstained"] == said["rows"] == 40
        assert '"label": null' in (tmp_path / "rows").read_text(encoding="utf-8")

    def test_a_bound_is_a_probability(self, command: Command, classifier_folder: Path) -> None:
        outcome = command("predict", "-", "--model", classifier_folder, "--min-probability", 70)
        assert outcome.returncode == 2
        assert "min_probability" in outcome.stderr
