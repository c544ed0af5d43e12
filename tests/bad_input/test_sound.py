"""Input that is strange and all the same sound: trained on, predicted and evaluated, every row and label as written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bad_input.tally import Tally

Command = Callable[..., CompletedProcess[str]]
LABELS = (
    " a b ",
    "😀",
    "007",
    "7",
    "true",
    "null",
    "1e3",
    "e\u0301",
    "é",
    "\u202eabc",
    'say "x"',
    "a,b",
    "two\nlines",
)
TEXTS = ("bread and tea", "a cold soup")


def written(rows: list[tuple[str, str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label"), *rows])
    return file.getvalue()


def rows_of(texts: tuple[str, ...], labels: tuple[str, ...] = ("good", "bad")) -> list[tuple[str, str]]:
    """Each label four times, beside each text in turn."""
    return [(f"{texts[n % len(texts)]} {n}", label) for n, label in enumerate(labels * 4)]


@pytest.fixture
def run(command: Command, tally: Tally) -> Callable[..., dict[str, Any]]:
    """Runs a command that has to end well; gives its report, what was said beside it."""

    def go(*words: Any) -> dict[str, Any]:
        ended: list[CompletedProcess[str]] = []

        def work() -> int:
            ended.append(command(*words, "--json"))
            return ended[0].returncode

        code = tally.command(work, lambda: ended[0].stderr if ended else "")
        assert code == 0, ended[0].stderr
        report: dict[str, Any] = json.loads(ended[0].stdout) if ended[0].stdout else {}
        return {**report, "said": ended[0].stderr}

    return go


@pytest.fixture
def through(
    run: Callable[..., dict[str, Any]], language_model_folder: Path, tmp_path: Path
) -> Callable[..., Any]:
    """Trains on a file, predicts it and evaluates it; gives the three reports and the predictions."""

    def go(
        data: Path, output: Path | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        output, answers = output or tmp_path / "run", tmp_path / "answers.jsonl"
        line = (
            "finetune",
            "--model",
            language_model_folder,
            "--data",
            data,
            "--no-lm-tuning",
            "--epochs",
            "1",
        )
        trained = run(*line, "--batch-size", "8", "-o", output)
        run("predict", "--model", output, data, "-o", answers, "--force")
        measured = run("evaluate", "--model", output, "--data", data)
        predicted = [json.loads(row) for row in answers.read_text(encoding="utf-8").splitlines()]
        return trained, measured, predicted

    return go


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_labels_stay_as_they_are_written(suffix: str, through: Callable[..., Any], tmp_path: Path) -> None:
    rows, path = rows_of(TEXTS, LABELS), tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        path.write_bytes(written(rows).encode())
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    else:
        texts, labels = zip(*rows, strict=True)
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    trained, measured, predicted = through(path)
    assert sorted(trained["labels"]) == sorted(LABELS)
    assert sorted(measured["per_class"]) == sorted(LABELS)
    assert all(figures["support"] == 4 for figures in measured["per_class"].values())
    assert len(predicted) == len(rows)
    assert {row["label"] for row in predicted} <= set(LABELS)


ODD = (
    "\n".join(["a line of a long text"] * 20),
    'he said "no"\r\n, and left',
    "a\0b\x1b[2J\x07\x7f\x85\u2028",
    "\u202eשלום العربية\u2066 e" + "\u0301" * 100 + "👩‍👩‍👧‍👦🏳️‍🌈\U0010ffff\ufffe",
)
FILES: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbf" + written(rows_of(TEXTS)).rstrip().encode(),
    "two byte order marks": "\ufeff\ufeff".encode() + written(rows_of(TEXTS)).encode(),
    "line ends of an old Macintosh": written(rows_of(TEXTS)).replace("\r\n", "\r").encode(),
    "odd signs": written(rows_of(ODD)).encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_odd_bytes_are_trained_on(name: str, through: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(FILES[name]))
    column = () if name != "two byte order marks" else ("taken as the text",)
    trained, measured, predicted = through(path)
    assert all(said in trained["said"] for said in column)
    assert trained["train_examples"] in (6, 7)  # two of eight, or one, are kept aside
    assert measured["examples"] == len(predicted) == 8


def test_empty_and_blank_texts_are_counted_and_answered(through: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(written([*rows_of(TEXTS), ("", "good"), ("  \t", "bad"), ("\u3000", "good")]))
    trained, measured, predicted = through(path)
    assert "left out for an empty text: 3 rows" in trained["said"]
    assert "left out for an empty text: 3 rows" in measured["said"]
    assert measured["examples"] == 8
    assert len(predicted) == 11, "an answer for every row"


@pytest.mark.parametrize("name", ['it\'s "quoted"\nin two', "отзывы 評価 😀", "-a$b`c`;&*[x]?"])
def test_any_name_of_a_file_and_a_folder(name: str, through: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    data = folder / f"{name}.csv"
    data.write_text(written(rows_of(TEXTS)))
    trained, measured, predicted = through(data, folder / f"{name} run")
    assert measured["examples"] == len(predicted) == 8
    assert Path(trained["output"]) == folder / f"{name} run"


@pytest.mark.parametrize("letters", [100_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
def test_a_word_of_a_million_letters_is_answered(
    letters: int, run: Callable[..., dict[str, Any]], classifier_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "x" * letters}) + "\n" + json.dumps({"text": "short"}))
    report = run(
        "predict", "--model", classifier_folder, path, "-o", tmp_path / "p.jsonl", "--max-length", "100"
    )
    assert report["rows"] == 2
    assert "truncat" in report["said"] or "cut" in report["said"]


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("gap", ["", " "], ids=["one word", "words"])
def test_a_language_model_learns_from_a_line_of_fifty_megabytes(
    gap: str, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path, held_out = tmp_path / "line.txt", tmp_path / "held-out.txt"
    path.write_text(f"{string.ascii_lowercase}{gap}" * (50_000_000 // (26 + len(gap))))
    held_out.write_text("abc def\n" * 9)
    sizes = ("--family", "ulmfit", "--size", "tiny", "--vocab-size", "300", "--max-steps", "2")
    report = run("pretrain", "--text", path, "--validation-text", held_out, *sizes, "-o", tmp_path / "lm")
    assert report["train_tokens"] > 1_000_000
    assert report["peak_memory_mb"] < 6000
