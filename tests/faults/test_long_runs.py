"""Thousands of steps and a hundred thousand predictions hold no more memory and no more files than the first ones."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "fixtures" / "format-1"
STEPS, PREDICTIONS = 2000, 100_000
MOST_MB = 8.0  # what an allocator keeps more or less of, from one moment to the next
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory and files as Linux counts them"),
]
# Runs a command line, and prints what memory (MiB) and how many files its process has held, twenty times a second.
WATCHED = """
import json, os, re, sys, threading
from pathlib import Path

from nlptl import cli

seen, over = [], threading.Event()


def watch():
    while not over.wait(0.05):
        resident = re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())
        seen.append((int(resident[1]) / 1024, len(os.listdir("/proc/self/fd"))))


file, *words = sys.argv[1:]
sys.argv = ["nlptl", *words, "--device", "cpu", "--precision", "fp32", "--offline"]
thread = threading.Thread(target=watch)
thread.start()
code = cli.main()
over.set()
thread.join()
Path(file).write_text(json.dumps(seen))
sys.exit(code)
"""


def watched(place: Path, *words: Any, stdin: Path | None = None) -> tuple[float, float, int, int]:
    """MiB and files: medians of the third and fourth tenth of the time, and of the last two."""
    file = place / "seen.json"
    with open(stdin or os.devnull, "rb") as given:
        subprocess.run(
            [sys.executable, "-c", WATCHED, str(file), *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=given,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    seen = json.loads(file.read_text())
    assert len(seen) > 50, "too short a time to tell"
    warm, last = seen[len(seen) // 5 : 2 * len(seen) // 5], seen[-(len(seen) // 5) :]
    memory, memory_after = (statistics.median(each[0] for each in part) for part in (warm, last))
    files, files_after = (round(statistics.median(each[1] for each in part)) for part in (warm, last))
    return memory, memory_after, files, files_after


def check(name: str, found: tuple[float, float, int, int]) -> None:
    memory, memory_after, files, files_after = found
    print(f"{name}: {memory:.1f} -> {memory_after:.1f} MB, {files} -> {files_after} files")
    assert memory_after - memory < MOST_MB, found
    assert files_after <= files + 1, found


@pytest.mark.parametrize("family", ["ulmfit", "gpt"])
def test_a_language_model_in_many_steps(family: str, text_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(text_file.read_text(encoding="utf-8") * 12, encoding="utf-8")
    words = ("--model", MODELS / family / "language-model", "--text", text, "--epochs", "100")
    sizes = ("--max-steps", STEPS, "--batch-size", "4", "--bptt", "16", "--set", "checkpoint_minutes=0.05")
    check(f"pretrain {family}", watched(tmp_path, "pretrain", *words, *sizes, "-o", tmp_path / "run"))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == STEPS


@pytest.mark.parametrize("family", ["ulmfit", "gpt"])
def test_a_classifier_in_many_steps(family: str, reviews: list[tuple[str, str]], tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in reviews * 5)
    data.write_text("".join(lines), encoding="utf-8")
    epochs = -(-STEPS // (540 // 6))
    words = ("--model", MODELS / family / "language-model", "--data", data, "--no-lm-tuning")
    sizes = ("--batch-size", "6", "--epochs", epochs, "--set", "checkpoint_minutes=0.05")
    check(f"finetune {family}", watched(tmp_path, "finetune", *words, *sizes, "-o", tmp_path / "run"))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) >= STEPS


@pytest.mark.parametrize("source", ["a file", "standard input"])
def test_predictions_of_many_rows(source: str, reviews: list[tuple[str, str]], tmp_path: Path) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "labels.jsonl"
    with open(rows, "w", encoding="utf-8") as file:
        for number in range(PREDICTIONS):
            text = f"{reviews[number % len(reviews)][0]} number{number}"
            file.write(json.dumps({"text": text}) + "\n" if source == "a file" else text + "\n")
    words = ("predict", "--model", MODELS / "ulmfit" / "classifier", "-o", output)
    data, stdin = (rows, None) if source == "a file" else ("-", rows)
    check(f"predict from {source}", watched(tmp_path, *words, data, stdin=stdin))
    with open(output, encoding="utf-8") as file:
        assert sum(1 for _ in file) == PREDICTIONS
