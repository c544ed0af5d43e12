"""`nlptl compare`: the learning curve of tiny models, its cells, and what becomes of them when something fails."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import nlptl.commands.compare as commands_compare
import nlptl.commands.comparison_cells as comparison_cells

Command = Callable[..., CompletedProcess[str]]
TINY = ("--set", "finetune.epochs=1", "--set", "finetune.lm_tuning=false", "--batch-size", "12")
pytestmark = pytest.mark.timeout(600)  # each cell is a process that imports everything, on a busy machine


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The pages that were asked for, of which another test has the drawing."""
    drawn: list[tuple[Any, ...]] = []

    def draw(path: Path, results: dict[str, Any], details: dict[str, str]) -> None:
        drawn.append((path, results, details))
        Path(path).write_text("<html></html>", encoding="utf-8")

    stand_in = types.ModuleType("learning_curve_report")
    stand_in.write_learning_curve_report = draw  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nlptl.evaluation.learning_curve_report", stand_in)
    return drawn


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run in this process, which has imported everything already."""

    def run(work: Callable[..., None], *arguments: Any, log: Path) -> int:
        work(*arguments)
        return 0

    for module in (comparison_cells, commands_compare):
        monkeypatch.setattr(module, "in_own_process", run)


@pytest.fixture
def compare(
    here: None, command: Command, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> Callable[..., CompletedProcess[str]]:
    """Compares TF-IDF with the tiny language model, frozen, on the forty reviews, into `tmp_path / "curve"`."""

    def run(
        *words: Any, models: str = f"{language_model_folder}:freeze", data: Path = labelled_file
    ) -> CompletedProcess[str]:
        line = ("compare", "--data", data, "--models", models, "-o", tmp_path / "curve")
        return command(*line, *TINY, *words)

    return run


def cells(folder: Path) -> dict[str, dict[str, Any]]:
    """The cells' files by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((folder / "cells").glob("*.json"))}


def test_a_curve_of_the_same_rows_for_all(
    compare: Command,
    language_model_folder: Path,
    tmp_path: Path,
    page: list[tuple[Any, ...]],
) -> None:
    folder = tmp_path / "curve"
    outcome = compare("--labels", "12,all,9999", "--seeds", "2", "--json", models=str(language_model_folder))
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report.pop("output") == str(folder)
    assert json.loads((folder / "results.json").read_text()) == report
    assert page[0][1] == report

    assert [(point["labels"], point["all"]) for point in report["points"]] == [(12, False), (32, True)]
    assert any("9,999 labels become all" in note for note in report["notes"])
    assert report["test"] == {"examples": 8, "source": report["test"]["source"]}
    assert "held out" in report["test"]["source"]
    assert report["majority"] == 0.5
    assert report["seeds"] == [0, 1]
    assert any("there are two draws" in note for note in report["notes"])
    name = str(language_model_folder)
    systems = ["tfidf", f"{name} frozen", f"{name} fine-tuned"]
    for point in report["points"]:
        assert [cell["system"] for cell in point["cells"]] == systems
        for cell in point["cells"]:
            low, high = cell["interval"]
            assert 0 <= low <= cell["accuracy"] <= high <= 1
            assert cell["accuracy"] == pytest.approx(sum(cell["accuracies"]) / 2)
            assert cell["seconds"] > 0
            assert 50 < cell["peak_memory_mb"] < 4000
            assert cell["error"] is None

    with open(folder / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    first = report["points"][0]["cells"][0]
    assert float(rows[0]["accuracy"]) == first["accuracy"]
    assert float(rows[0]["accuracy_seed_1"]) == first["accuracies"][1]

    # Nothing is left of the models and of the rows.
    left = {path.name for path in folder.iterdir()}
    assert left == {"cells", "config.yaml", "data.json", "report.html", "results.csv", "results.json"}
    assert len(cells(folder)) == 12


def test_its_rows_are_those_of_finetune_with_that_limit_and_seed(
    compare: Command, finetune: Callable[..., dict[str, Any]], labelled_file: Path, tmp_path: Path
) -> None:
    test = tmp_path / "held.jsonl"
    test.write_bytes(labelled_file.read_bytes())
    outcome = compare("--labels", "12", "--seeds", "1", "--seed", "5", "--test", test, "--json")
    assert outcome.returncode == 0, outcome.stderr
    cell = json.loads(outcome.stdout)["points"][0]["cells"][1]
    alone = finetune(
        *("--strategy", "freeze", "--limit", "12", "--seed", "5", "--test", test),
        *("--no-lm-tuning", "--epochs", "1", "--batch-size", "12"),
    )
    assert cell["accuracy"] == pytest.approx(alone["test"]["accuracy"])
    assert cell["log_loss"] == pytest.approx(alone["test"]["log_loss"], rel=1e-4)


def test_a_validation_part_is_counted_among_the_labels(
    compare: Command, labelled_file: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = labelled_file.read_text().splitlines(keepends=True)
    for name, part in (("train", lines[:20]), ("validation", lines[20:30]), ("test", lines[30:])):
        (data / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    outcome = compare("--dry-run", "--labels", "all", "--json", data=data)
    assert outcome.returncode == 0, outcome.stderr
    plan = json.loads(outcome.stdout)
    assert plan["rows"] == 30
    assert plan["test_rows"] == 10
    assert plan["labels"] == [30]
    assert plan["cells"] == 6
    assert not (tmp_path / "curve").exists()


def test_language_models_are_tuned_once_on_unlabelled_text(
    compare: Command, text_file: Path, language_model_folder: Path, tmp_path: Path
) -> None:
    words = ("--lm-text", text_file, "--labels", "12", "--seeds", "1", "--keep-models", "--json")
    small = (
        "--set",
        "finetune.lm.epochs=1",
        "--set",
        "finetune.lm.bptt=16",
        "--set",
        "finetune.lm_tuning=true",
    )
    outcome = compare(*words, *small, models=str(language_model_folder))
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    folder = tmp_path / "curve"
    assert len(list((folder / "lm").iterdir())) == 1
    assert any("tuned once" in note for note in report["notes"])
    assert all((model / "config.json").is_file() for model in (folder / "models").iterdir())
    assert len(list((folder / "models").iterdir())) == 2


def test_a_failed_cell_is_said_and_tried_again_and_finished_ones_are_kept(
    compare: Command, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "curve"
    real = comparison_cells.in_own_process  # as `here` has it

    def failing(work: Any, cell: Any, *, log: Path) -> int:
        return -9 if cell.pretrained else real(work, cell, log=log)

    monkeypatch.setattr(comparison_cells, "in_own_process", failing)
    outcome = compare("--labels", "12", "--seeds", "1")
    assert outcome.returncode == 0, outcome.stderr
    assert "failed" in outcome.stdout
    assert "signal 9, as it happens where memory runs out" in outcome.stdout
    results = json.loads((folder / "results.json").read_text())
    failed = results["points"][0]["cells"][1]
    assert failed["accuracy"] is None
    assert failed["accuracies"] == [None]
    assert results["points"][0]["winner"] is None

    monkeypatch.setattr(comparison_cells, "in_own_process", real)
    (kept,) = (folder / "cells").glob("*tfidf.json")
    before = kept.stat().st_mtime_ns
    refused = command("compare", "-o", folder, "--resume", "--labels", "16")
    assert refused.returncode == 2
    assert "labels cannot change" in refused.stderr
    outcome = command("compare", "-o", folder, "--resume")
    assert outcome.returncode == 0, outcome.stderr
    assert "1 of 2 cells are there already" in outcome.stderr
    assert kept.stat().st_mtime_ns == before
    results = json.loads((folder / "results.json").read_text())
    assert results["points"][0]["cells"][1]["error"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--labels", "3"), "3 labels are too few for 2 classes"),
        (("--labels", "many"), "labels"),
        (("--set", "finetune.epoch=2"), "did you mean 'epochs'"),
        (("--set", "finetune.limit=2"), "limit is what `compare` decides"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    compare: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = compare(*words)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert not (tmp_path / "curve").exists()


def test_every_model_is_looked_at_first(
    compare: Command, language_model_folder: Path, tmp_path: Path
) -> None:
    outcome = compare(models=f"{language_model_folder},no/such/model:freeze")
    assert outcome.returncode == 2
    assert "no/such/model" in outcome.stderr
    assert not (tmp_path / "curve").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupted_it_says_how_to_go_on_and_keeps_its_cells(
    language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "curve"
    line = [sys.executable, "-m", "nlptl", "compare", "--data", str(labelled_file), "-o", str(folder)]
    line += ["--models", f"{language_model_folder}:freeze", "--labels", "12", "--seeds", "9", *TINY]
    process = subprocess.Popen(
        [*line, "--device", "cpu"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("cells/*.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert f"nlptl compare --output {folder} --resume" in said
    assert "Traceback" not in said
    assert cells(folder)
    assert not (folder / "work").exists()


def test_the_time_left_grows_with_the_labels(labelled_file: Path) -> None:
    def cell(system: str, labels: int) -> Any:
        return types.SimpleNamespace(system=system, labels=labels)

    took = {"a": (100, 10.0), "b": (50, 1.0)}
    assert commands_compare._seconds_left([cell("a", 50), cell("b", 500)], took) == pytest.approx(20.0)
    assert commands_compare._seconds_left([cell("c", 50)], took) is None


def write_ancestry(file: Path) -> None:
    """Of a process: who started it, and whether the libraries of a cell were there before any cell ran."""
    file.write_text(f"{os.getppid()} {'sklearn' in sys.modules}", encoding="utf-8")
    if file.name == "ended":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_cells_are_copies_of_one_process_that_has_imported_everything(tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "ended", tmp_path / "third"]
    codes = [
        comparison_cells.in_own_process(write_ancestry, file, log=tmp_path / f"{file.name}.log")
        for file in files
    ]
    assert codes == [0, -signal.SIGKILL, 0]
    (server, loaded), *others = (file.read_text(encoding="utf-8").split() for file in files)
    assert loaded == "True"
    assert int(server) != os.getpid()
    assert others == [[server, loaded]] * 2
