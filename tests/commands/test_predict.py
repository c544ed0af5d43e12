"""`nlptl predict` says what `transformers` says of the same model, a line a text, in order and in little memory."""

from __future__ import annotations

import csv
import errno
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import nlptl
from nlptl.commands import predict, prediction
from nlptl.commands.prediction import Classifier, load_classifier
from nlptl.config import PredictConfig

Command = Callable[..., CompletedProcess[str]]
TEXTS = [
    "her acting was wonderful. the music shines brightly.",
    "",
    "dull",
    "the film was awful. a long scene is dull. this story falls flat. the music made me sleep.",
    "   ",
    "Ärger, 映画 \U0001f600!",
]


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def by_transformers(classifier_folder: Path) -> np.ndarray:
    """The probabilities of each text alone, by the model folder and `transformers`."""
    nlptl.register_families()
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder / "model")
    with torch.inference_mode():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits.softmax(1)[0] for text in TEXTS]
    return torch.stack(rows).numpy()


def lines(outcome: CompletedProcess[str]) -> list[dict[str, Any]]:
    assert outcome.returncode == 0, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_probabilities_are_those_of_transformers_in_the_order_of_the_texts(
    command: Command, classifier_folder: Path, texts_file: Path, by_transformers: np.ndarray
) -> None:
    words = ("predict", texts_file, "--model", classifier_folder, "--probabilities")
    rows = lines(command(*words))
    assert all(list(row) == ["label", "probability", "probabilities"] for row in rows)
    assert all(list(row["probabilities"]) == ["bad", "good"] for row in rows)
    found = np.array([list(row["probabilities"].values()) for row in rows])
    np.testing.assert_allclose(found, by_transformers, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    for row in rows:
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert row["probability"] == max(row["probabilities"].values())


def test_the_pipeline_of_transformers_agrees(
    command: Command, classifier_folder: Path, texts_file: Path
) -> None:
    classify = pipeline("text-classification", model=str(classifier_folder / "model"), device="cpu")
    rows = lines(command("predict", texts_file, "--model", classifier_folder))
    for row, expected in zip(rows, classify(TEXTS), strict=True):
        assert list(row) == ["label", "probability"]
        assert row["label"] == expected["label"]
        assert row["probability"] == pytest.approx(expected["score"], abs=1e-6)


def test_standard_input_is_a_text_a_line_and_an_empty_line_an_empty_text(
    command: Command, classifier_folder: Path, by_transformers: np.ndarray
) -> None:
    outcome = command("predict", "-", "--model", classifier_folder, stdin="\r\n".join(TEXTS).encode("utf-8"))
    found = [row["probability"] for row in lines(outcome)]
    np.testing.assert_allclose(found, by_transformers.max(axis=1), atol=1e-6)
    assert "2 of 6 texts are empty" in outcome.stderr


def test_nothing_on_standard_input_is_no_row(command: Command, classifier_folder: Path) -> None:
    outcome = command("predict", "-", "--model", classifier_folder)
    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_an_answer_comes_before_the_next_line_is_asked_for(
    classifier_folder: Path, by_transformers: np.ndarray
) -> None:
    words = ["predict", "-", "--model", str(classifier_folder), "--device", "cpu", "--precision", "fp32"]
    with Popen([sys.executable, "-m", "nlptl", *words], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text, expected in zip(TEXTS[:3], by_transformers, strict=False):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert answer["probability"] == pytest.approx(float(expected.max()), abs=1e-6)
        process.stdin.close()
        assert process.wait(60) == 0


def test_what_a_length_limit_cuts_is_said_once(command: Command, classifier_folder: Path) -> None:
    words = ("predict", "-", "--model", classifier_folder, "--max-length", 4)
    outcome = command(*words, stdin=b"the film is great and long\n" * 3 + b"dull\n")
    assert len(lines(outcome)) == 4
    assert outcome.stderr.count("3 of 4 texts were cut by --max-length") == 1


def test_a_line_that_is_no_utf_8_is_named(command: Command, classifier_folder: Path) -> None:
    outcome = command("predict", "-", "--model", classifier_folder, stdin=b"fine\nfine too\nbad \xe9\n")
    assert outcome.returncode == 2
    assert "line 3, byte 5" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_table_without_rows_is_one_clear_error(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.csv").write_text("text,label\n", encoding="utf-8")
    outcome = command("predict", tmp_path / "none.csv", "--model", classifier_folder)
    assert outcome.returncode == 2
    assert "none.csv" in outcome.stderr
    assert "internal" not in outcome.stderr


def test_csv_has_a_header_and_the_same_figures(
    command: Command, classifier_folder: Path, texts_file: Path, by_transformers: np.ndarray
) -> None:
    words = ("predict", texts_file, "--model", classifier_folder, "--format", "csv")
    plain = list(csv.reader(io.StringIO(command(*words).stdout)))
    full = list(csv.reader(io.StringIO(command(*words, "--probabilities").stdout)))
    assert plain[0] == ["label", "probability"]
    assert full[0] == ["label", "probability", "bad", "good"]
    assert [row[:2] for row in full[1:]] == plain[1:]
    found = np.array([row[2:] for row in full[1:]], dtype=float)
    np.testing.assert_allclose(found, by_transformers, atol=1e-6)


def test_columns_are_found_in_a_table_and_labels_are_not_needed(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text('id,words\n1,"dull, awful"\n2,great\n', encoding="utf-8")
    outcome = command("predict", tmp_path / "t.csv", "--model", classifier_folder, "--text-column", "words")
    expected = command("predict", "-", "--model", classifier_folder, stdin=b"dull, awful\ngreat\n")
    assert lines(outcome) == lines(expected)


def test_an_output_file_is_kept_unless_force_is_said(
    command: Command, classifier_folder: Path, texts_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rows.jsonl"
    words = ("predict", texts_file, "--model", classifier_folder, "--output", output, "--json")
    first = command(*words)
    assert set(json.loads(first.stdout)) == {"output", "rows", "seconds", "rows_per_second"}
    assert json.loads(first.stdout)["rows"] == len(TEXTS)
    written = output.read_text(encoding="utf-8")
    assert written == command("predict", texts_file, "--model", classifier_folder).stdout

    output.write_text("precious", encoding="utf-8")
    refused = command(*words)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert output.read_text(encoding="utf-8") == "precious"
    assert command(*words, "--force").returncode == 0
    assert output.read_text(encoding="utf-8") == written


def test_an_output_file_appears_whole_or_not_at_all(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rows.jsonl"
    stdin = b"a fine film\n" * prediction.ROWS_IN_MEMORY + b"\xff\n"
    outcome = command("predict", "-", "--model", classifier_folder, "--output", output, stdin=stdin)
    assert outcome.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_reading_is_not_taken_for_one_of_writing(
    command: Command, classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield {"text": "fine"}
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(predict, "stdin_rows_as_they_come", broken)
    words = ("predict", "-", "--model", classifier_folder, "--output", tmp_path / "rows.jsonl")
    outcome = command(*words)
    assert outcome.returncode == 1
    assert "cannot be written" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_names_the_output(
    command: Command, classifier_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / ".rows.jsonl.partial").symlink_to("/dev/full")
    words = ("predict", "-", "--model", classifier_folder, "--output", tmp_path / "rows.jsonl")
    outcome = command(*words, stdin=b"a film\n")
    assert outcome.returncode == 1
    assert "cannot be written" in outcome.stderr
    assert "rows.jsonl" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_language_model_is_refused(command: Command, language_model_folder: Path) -> None:
    outcome = command("predict", "-", "--model", language_model_folder, stdin=b"text\n")
    assert outcome.returncode == 2
    assert "a language model, not a classifier" in outcome.stderr


@pytest.fixture(scope="module")
def classifier(classifier_folder: Path) -> Classifier:
    return load_classifier(str(classifier_folder), PredictConfig(device="cpu", precision="fp32"))


def test_rows_are_read_no_further_ahead_than_the_buffer(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "ROWS_IN_MEMORY", 8)
    taken = 0

    def endless() -> Iterator[dict[str, str]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"text": f"film number {taken}"}

    stream = classifier.stream(endless())
    for given in range(1, 21):
        row, _ = next(stream)
        assert row["text"] == f"film number {given}"
        assert taken - given < 8


def test_a_pause_answers_all_rows_so_far(classifier: Classifier) -> None:
    answered: list[str] = []

    def rows() -> Iterator[dict[str, str] | None]:
        yield {"text": "one"}
        yield {"text": "two"}
        yield None
        assert answered == ["one", "two"]
        yield {"text": "three"}

    for row, _ in classifier.stream(rows()):
        answered.append(str(row["text"]))
    assert answered == ["one", "two", "three"]


def test_several_labels_are_those_at_least_as_likely_as_not(classifier: Classifier) -> None:
    several = Classifier(
        classifier.model, classifier.tokenizer, classifier.precision, ["a", "b", "c"], True, None
    )
    assert several.decide(np.array([0.5, 0.2, 0.9], dtype=np.float32)) == ["a", "c"]
    assert several.decide(np.array([0.1, 0.2, 0.3], dtype=np.float32)) == []
