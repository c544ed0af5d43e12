"""An output folder: --force removes what the same command wrote before, and nothing of the user's or of the model's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nlptl.commands.output_lock import LOCK, locks_released
from nlptl.commands.run_folder import Outputs, check_output_folder, open_run_folder
from nlptl.errors import UsageError

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def unlocked() -> Iterator[None]:
    """What a test opens is locked as long as a command would keep it so."""
    with locks_released():
        yield


REPORT = Outputs(("metrics.json", "report.html"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine", encoding="utf-8")
    return folder


def a_run(folder: Path) -> Path:
    """What a training run leaves, and two files of the user."""
    written(folder, "config.yaml", "metrics.json", "README.md", "model/config.json", "lm/metrics.json")
    written(folder, "checkpoints/runs/events", "notes.txt", "runs/kept/model/config.json")
    (folder / "data.json").write_text('{"fingerprint": "0123"}', encoding="utf-8")
    return folder


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder))


def test_force_replaces_a_run_but_none_of_the_users_files_in_it(tmp_path: Path) -> None:
    folder = open_run_folder(a_run(tmp_path / "run"), resume=False, force=True)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "data.json", "notes.txt", "runs", LOCK}
    assert (folder / "runs" / "kept" / "model" / "config.json").is_file()
    # Killed at this moment, it can still be started afresh.
    assert open_run_folder(folder, resume=False, force=True) == folder


def test_a_folder_that_is_being_removed_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed while it removes a former one leaves no half of a model under its name."""
    folder = a_run(tmp_path / "run")

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run_folder(folder, resume=False, force=True)
    assert not (folder / "model").exists()
    assert any(path.name.endswith(".removed") for path in folder.iterdir())
    open_run_folder(folder, resume=True, force=False)
    assert not any(path.name.endswith(".removed") for path in folder.iterdir())


@pytest.mark.parametrize(
    "names",
    [
        ["README.md", "model/weights.bin", "runs/a/notes"],
        ["README.md", "config.yaml"],
        ["README.md", "data.json", "config.yaml"],
    ],
)
def test_force_does_not_train_into_a_folder_that_is_no_runs(names: list[str], tmp_path: Path) -> None:
    written(tmp_path, *names)
    with pytest.raises(UsageError, match="not a run's"):
        open_run_folder(tmp_path, resume=False, force=True)
    assert sorted(contents(tmp_path)) == sorted(names)


def test_force_removes_of_a_report_only_its_own_names(tmp_path: Path) -> None:
    written(tmp_path, "metrics.json", "report.html", "README.md", "model/config.json", "config.yaml")
    open_run_folder(tmp_path, resume=False, force=True, outputs=REPORT)
    assert set(contents(tmp_path)) == {"README.md", "model/config.json", "config.yaml", LOCK}


def test_no_report_takes_the_place_of_a_training_runs_results(tmp_path: Path) -> None:
    before = contents(a_run(tmp_path))
    with pytest.raises(UsageError, match="that of a training run"):
        open_run_folder(tmp_path, resume=False, force=True, outputs=REPORT)
    assert contents(tmp_path) == before


def test_only_what_can_be_resumed_is_told_to_resume(tmp_path: Path) -> None:
    written(tmp_path, "metrics.json")
    with pytest.raises(UsageError, match="go on with --resume, start afresh with --force, or name another"):
        check_output_folder(tmp_path, resume=False, force=False)
    with pytest.raises(UsageError, match=r"not empty.*; start afresh with --force, or name another"):
        check_output_folder(tmp_path, resume=False, force=False, outputs=REPORT)


@pytest.mark.parametrize("output", ["run", "run/model", "run/report", ".", "linked", "run/../run"])
@pytest.mark.parametrize("option", ["--model", "--compare"])
def test_an_evaluation_does_not_write_over_a_model_that_it_reads(
    output: str,
    option: str,
    command: Command,
    classifier_folder: Path,
    labelled_file: Path,
    tmp_path: Path,
) -> None:
    run = copied(classifier_folder, tmp_path / "run")
    (tmp_path / "linked").symlink_to(run)
    models = {"--model": classifier_folder, "--compare": classifier_folder, option: run}
    before = contents(tmp_path)
    words = [word for pair in models.items() for word in pair]
    outcome = command("evaluate", *words, "--data", labelled_file, "-o", tmp_path / output, "--force")
    assert outcome.returncode == 2, outcome.stderr
    assert f"with {option} {run}; name another --output" in outcome.stderr
    assert contents(tmp_path) == before


def test_an_evaluation_forced_into_a_project_keeps_the_projects_files(
    command: Command,
    classifier_folder: Path,
    labelled_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    written(tmp_path, "README.md", "config.yaml", "model/own.bin", "runs/a/log.jsonl")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "--model", classifier_folder, "--data", labelled_file, "-o", ".", "--force")
    assert command(*words).returncode == 0
    made = {"metrics.json", "predictions.parquet", "report.html"}
    assert {name: text for name, text in contents(tmp_path).items() if name not in made} == before
    assert made <= set(contents(tmp_path))


@pytest.mark.parametrize("option", ["--model", "--backward-model"])
def test_finetuning_does_not_remove_the_language_model_it_starts_from(
    option: str,
    command: Command,
    language_model_folder: Path,
    backward_language_model_folder: Path,
    labelled_file: Path,
    tmp_path: Path,
) -> None:
    models = {"--model": language_model_folder, "--backward-model": backward_language_model_folder}
    models[option] = copied(models[option], tmp_path / "lm")
    before = contents(tmp_path)
    words = [word for pair in models.items() for word in pair]
    for output in ("lm", "lm/model", "lm/classifier"):
        line = ("finetune", *words, "--data", labelled_file, "-o", tmp_path / output, "--force")
        outcome = command(*line)
        assert outcome.returncode == 2, outcome.stderr
        assert f"with {option} " in outcome.stderr
        assert contents(tmp_path) == before


def test_pretraining_does_not_remove_the_language_model_it_goes_on_with(
    command: Command, language_model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    run = copied(language_model_folder, tmp_path / "lm")
    before = contents(run)
    outcome = command("pretrain", "--model", run, "--text", text_file, "-o", run, "--force")
    assert outcome.returncode == 2
    assert "with --model " in outcome.stderr
    assert contents(run) == before


@pytest.mark.parametrize(("option", "name"), [("--data", "data.jsonl"), ("--test", "data.jsonl")])
def test_no_classifier_is_written_around_its_data(
    option: str, name: str, command: Command, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "run")
    shutil.copy(labelled_file, run / name)
    before = contents(run)
    sources = {"--data": labelled_file, option: run / name}
    words = [word for pair in sources.items() for word in pair]
    outcome = command("finetune", "--model", language_model_folder, *words, "-o", run, "--force")
    assert outcome.returncode == 2
    assert f"holds what the run reads, --output {run} with {option} {run / name}" in outcome.stderr
    assert contents(run) == before


@pytest.mark.parametrize("text", ["run/lm/a.txt", "run/l*/*.txt", "run/lm"])
def test_no_language_model_is_written_around_its_text(
    text: str, command: Command, text_file: Path, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "run")
    (run / "lm" / "metrics.json").unlink()  # the folder then holds nothing but the text
    shutil.copy(text_file, run / "lm" / "a.txt")
    line = (
        "pretrain",
        "--family",
        "ulmfit",
        "--size",
        "tiny",
        "--text",
        tmp_path / text,
        "-o",
        run,
        "--force",
    )
    outcome = command(*line)
    assert outcome.returncode == 2
    assert f"with --text {tmp_path / text}" in outcome.stderr
    assert (run / "lm" / "a.txt").is_file()


def test_an_import_is_not_written_around_its_checkpoint(command: Command, tmp_path: Path) -> None:
    for folder, option in (("lm", "--weights"), ("lm-backward", "--backward-weights")):
        files = {"--weights": tmp_path / "w.pth", "--backward-weights": tmp_path / "b.pth"}
        files[option] = tmp_path / folder / "model" / "lm.pth"
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        words = [word for pair in files.items() for word in pair]
        line = ("models", "import", "--from", "fastai", *words, "-o", tmp_path / "lm", "--force")
        outcome = command(*line)
        assert outcome.returncode == 2
        assert f"with {option} {files[option]}" in outcome.stderr
        assert files[option].is_file()


def test_data_beside_the_output_is_no_obstacle(
    command: Command, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> None:
    shutil.copy(labelled_file, tmp_path / "train.jsonl")
    line = (
        "finetune",
        "--model",
        language_model_folder,
        "--data",
        tmp_path,
        "-o",
        tmp_path / "run",
        "--json",
    )
    outcome = command(*line, "--dry-run")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)
