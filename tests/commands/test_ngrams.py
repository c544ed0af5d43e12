"""`finetune --ngrams`: phrases that a small network misses."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from transformers import pipeline

import nlptl
from tests.commands.conftest import PRETRAIN

Command = Callable[..., CompletedProcess[str]]
TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-4, "validation_fraction": 0.25}


@pytest.fixture(scope="module")
def phrases_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose label is which of two words comes first, which no network learns in one epoch at such a rate."""
    draw, file = random.Random(0), tmp_path_factory.mktemp("phrases") / "train.jsonl"
    words = ["the", "film", "music", "story", "was", "a", "with", "and", "actors", "scene"]
    with open(file, "w", encoding="utf-8") as out:
        for _ in range(160):
            label, text = draw.choice(["good", "bad"]), draw.choices(words, k=draw.randint(3, 9))
            place = draw.randint(0, len(text))
            text[place:place] = ["not", "only"] if label == "good" else ["only", "not"]
            out.write(json.dumps({"text": " ".join(text), "label": label}) + "\n")
    return file


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Callable[..., Path], phrases_file: Path) -> Path:
    return tiny_classifier(**TRAINING, data=str(phrases_file), ngrams=2)


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_they_say_what_the_network_does_not_know(classifier: Path) -> None:
    figures, validation = report(classifier)["ngrams"], report(classifier)["validation"]
    assert figures["before"]["accuracy"] < 0.75
    assert figures["after"]["accuracy"] > 0.9
    assert figures["after"] == {key: pytest.approx(validation[key], abs=1e-5) for key in figures["after"]}
    assert figures["examples"] == validation["examples"]
    assert figures["longest"] == 2
    config = json.loads((classifier / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["ngrams"] == figures["ngrams"]
    card = (classifier / "README.md").read_text(encoding="utf-8")
    assert f"{figures['ngrams']:,} n-grams of up to 2 tokens and of 2 to 5 characters" in card


def test_validation_texts_are_learned_from_once_they_have_been_asked(
    tiny_classifier: Callable[..., Path], phrases_file: Path, tmp_path: Path, command: Command
) -> None:
    """Their figures are of a model that had not seen them, and that of the folder has."""
    rows = [json.loads(line) for line in phrases_file.read_text(encoding="utf-8").splitlines()]
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows[:-20]), encoding="utf-8")
    validation.write_text("".join(json.dumps(row) + "\n" for row in rows[-20:]), encoding="utf-8")
    folder = tiny_classifier(**TRAINING, data=str(train), validation=str(validation), ngrams=2)
    outcome = command("evaluate", "--model", folder, "--data", validation, "--json")
    known, asked = json.loads(outcome.stdout), report(folder)["validation"]
    assert known["log_loss"] < asked["log_loss"]


def test_long_texts_have_words_enough(
    tiny_classifier: Callable[..., Path], phrases_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlptl.commands.ngram_stage.SHORT", 2)
    folder = tiny_classifier(**TRAINING, data=str(phrases_file), ngrams=2, seed=5)
    assert not report(folder)["ngrams"]["characters"]
    assert json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))["spelled_tokens"] == 0


def test_every_reader_of_the_model_has_them(classifier: Path, command: Command, phrases_file: Path) -> None:
    texts = ["the film was not only music", "the film was only not music", "unheard of"]
    outcome = command("predict", "-", "--model", classifier, stdin="\n".join(texts).encode())
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [row["label"] for row in rows[:2]] == ["good", "bad"]
    nlptl.register_families()
    classify = pipeline("text-classification", model=str(classifier / "model"), device="cpu")
    assert [row["probability"] for row in rows] == pytest.approx(
        [one["score"] for one in classify(texts)], abs=1e-4
    )


def test_frozen_features_and_a_temperature_go_with_them(
    tiny_classifier: Callable[..., Path], phrases_file: Path
) -> None:
    both = {**TRAINING, "data": str(phrases_file), "strategy": "freeze", "ngrams": 2}
    plain, calibrated = tiny_classifier(**both), tiny_classifier(**both, calibrate=True)
    first, second = report(plain), report(calibrated)
    assert first["ngrams"] == second["ngrams"]
    assert second["calibration"]["before"]["log_loss"] == pytest.approx(
        first["validation"]["log_loss"], abs=1e-5
    )
    assert second["calibration"]["after"]["log_loss"] == pytest.approx(
        second["validation"]["log_loss"], abs=1e-5
    )


def test_the_same_seed_gives_the_same_model_also_after_an_end_in_between(
    command: Command, language_model_folder: Path, phrases_file: Path, tmp_path: Path
) -> None:
    """A run that had written its n-grams and not its report does them again, from the network alone."""
    hashes = []
    words = [f"--set={key}={value}" for key, value in TRAINING.items()]
    for name in ("one", "other"):
        line = ("finetune", "--model", language_model_folder, "--data", phrases_file, "-o", tmp_path / name)
        outcome = command(*line, "--ngrams", "2", "--calibrate", *words)
        assert outcome.returncode == 0, outcome.stderr
        if name == "other":
            (tmp_path / name / "metrics.json").unlink()
            outcome = command("finetune", "--resume", "-o", tmp_path / name)
            assert outcome.returncode == 0, outcome.stderr
        weights = (tmp_path / name / "model" / "model.safetensors").read_bytes()
        config = json.loads((tmp_path / name / "model" / "config.json").read_text(encoding="utf-8"))
        hashes.append(
            (hashlib.sha256(weights).hexdigest(), config["calibration_temperature"], config["ngrams"])
        )
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ngrams", "9"), "ngrams"),
        (("--set", "architecture.ngrams=5"), "ngrams cannot be chosen"),
    ],
)
def test_what_makes_no_sense_is_said(
    command: Command,
    language_model_folder: Path,
    phrases_file: Path,
    tmp_path: Path,
    words: Any,
    message: str,
) -> None:
    line = ("finetune", "--model", language_model_folder, "--data", phrases_file, "-o", tmp_path / "run")
    outcome = command(*line, *words)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_pair_in_both_orders_has_none(
    command: Command, tiny_language_model: Callable[..., Path], phrases_file: Path, tmp_path: Path
) -> None:
    model = tiny_language_model(family="gpt", **PRETRAIN["gpt"])
    line = ("finetune", "--model", model, "--data", phrases_file, "-o", tmp_path / "run")
    outcome = command(*line, "--ngrams", "2", "--pair-symmetric")
    assert outcome.returncode == 2
    assert "--pair-symmetric with --ngrams" in outcome.stderr
