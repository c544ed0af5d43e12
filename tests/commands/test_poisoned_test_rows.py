"""What a classifier is measured on has no part in making it: other test rows, the same classifier to the last bit.

The test rows are replaced by words that no text has, their labels are turned over and more rows are added. The
weights, the vocabulary, the temperature, the epoch that is kept and what was chosen have to stay as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import nlptl.commands.compare as commands_compare
import nlptl.commands.comparison_cells as comparison_cells
from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.config import FinetuneConfig, validated
from nlptl.training.progress import Reporter

MODELS = Path(__file__).resolve().parents[1] / "fixtures" / "format-1"
INTACT = 6  # the first test rows, which stay as they are
TURNED = {"good": "bad", "bad": "good"}
TRAINING = {"epochs": 4, "early_stopping": 1, "batch_size": 12, "learning_rate": 0.02, "calibrate": True}
# Each strategy where it chooses most; the other pairs with --faults.
QUICK = [("ulmfit", "fine-tune", None), ("gpt", "fine-tune", None), ("elmo", "freeze", "logistic")]
QUICK += [("wordvectors", "freeze", "mlp")]
SLOW = [(family, "fine-tune", None) for family in ("elmo", "wordvectors", "transformer")]
SLOW += [(family, "freeze", "logistic") for family in ("ulmfit", "gpt", "wordvectors", "transformer")]
SLOW += [("ulmfit", "freeze", head) for head in ("mlp", "bilstm-attention")]


@pytest.fixture(scope="module")
def clean_and_poisoned(
    reviews: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Two folders of train, validation and test data that differ in their test rows alone.

    A quarter of the labels is turned over, so that early stopping and the temperature have something to find.
    """
    noisy = [(text, TURNED[label] if n % 4 == 1 else label) for n, (text, label) in enumerate(reviews)]
    test = noisy[96:]
    poisoned = test[:INTACT] + [("zyx " * 5 + f"qqq{n}", TURNED[b]) for n, (_, b) in enumerate(test[INTACT:])]
    poisoned += [(f"wvu wvu tsr{n}", ("good", "bad")[n % 3 == 0]) for n in range(30)]
    folders = []
    for name, rows in (("clean", test), ("poisoned", poisoned)):
        folder = tmp_path_factory.mktemp(name)
        for split, part in (("train", noisy[:64]), ("validation", noisy[64:96]), ("test", rows)):
            lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in part)
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        folders.append(folder)
    return folders[0], folders[1]


class Remembering(Reporter):
    """Keeps what was chosen."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.chosen: list[str] = []

    def note(self, text: str) -> None:
        if text.startswith(("chosen", "probabilities are", "classifier, epoch")):
            self.chosen.append(text)


def hashes(folder: Path) -> dict[str, str]:
    """Of all files in a folder, by their paths."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def made(data: Path, run: Path, family: str, strategy: str, head: str | None) -> dict[str, Any]:
    """A classifier: all there is of it, and what it comes to on the test rows."""
    config = {"model": str(MODELS / family / "language-model"), "data": str(data), "output": str(run)}
    config |= {"strategy": strategy, "device": "cpu", "precision": "fp32", "log_steps": 1, **TRAINING}
    if head is not None:
        config["head"] = head
    if strategy == "fine-tune":
        config["lm"] = {"epochs": 1, "batch_size": 16}
    reporter = Remembering()
    report = finetune(validated(FinetuneConfig, config), Invocation(reporter=reporter))
    log = run / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    for line in lines:
        line.pop("tokens_per_second", None)
    facts = ("epochs", "labels", "train_examples", "validation", "calibration")
    return {
        "files": hashes(run / "model"),
        "chosen": reporter.chosen,
        "log": lines,
        "report": {key: report[key] for key in facts},
        "test": report["test"],
    }


@pytest.mark.parametrize(
    ("family", "strategy", "head"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.faults) for case in SLOW)],
)
def test_a_classifier_knows_nothing_of_its_test_rows(
    family: str,
    strategy: str,
    head: str | None,
    clean_and_poisoned: tuple[Path, Path],
    one_thread: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = []
    for number, data in enumerate(clean_and_poisoned):
        monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / f"cache {number}"))  # features are computed anew
        outcomes.append(made(data, tmp_path / str(number), family, strategy, head))
    tests = [outcome.pop("test") for outcome in outcomes]
    assert tests[0] != tests[1]  # the poison was taken
    assert "model.safetensors" in outcomes[0]["files"]
    assert outcomes[0]["chosen"]
    assert outcomes[0]["report"]["calibration"]["temperature"] != 1
    assert outcomes[0] == outcomes[1]


def test_the_cells_of_a_comparison_know_nothing_of_the_test_rows(
    clean_and_poisoned: tuple[Path, Path],
    command: Callable[..., CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def here(work: Callable[..., None], *arguments: Any, log: Path) -> int:
        work(*arguments)
        return 0

    for module in (comparison_cells, commands_compare):
        monkeypatch.setattr(module, "in_own_process", here)
    kept, right = [], []
    for number, data in enumerate(clean_and_poisoned):
        output = tmp_path / str(number)
        words = ("--models", MODELS / "wordvectors" / "language-model", "--labels", "40", "--seeds", "1")
        tiny = ("--set", "finetune.epochs=2", "--set", "finetune.lm_tuning=false", "--batch-size", "12")
        outcome = command("compare", "--data", data, *words, *tiny, "--keep-models", "-o", output)
        assert outcome.returncode == 0, outcome.stderr
        kept.append(hashes(output / "models"))
        cells = {file.stem: json.loads(file.read_text()) for file in (output / "cells").glob("*.json")}
        right.append({name: cell["right"] for name, cell in cells.items()})
    assert sum(name.endswith("model.safetensors") for name in kept[0]) == 2
    assert kept[0] == kept[1]
    assert (
        len(right[0]) == 3
    )  # TF-IDF, which keeps no model, is known by what it says of the rows that are intact
    assert right[0] != right[1]
    assert {name: each[:INTACT] for name, each in right[0].items()} == {
        name: each[:INTACT] for name, each in right[1].items()
    }
