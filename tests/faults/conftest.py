"""Small jobs of every command, what they come to when nothing disturbs them, and the figures of the strikes at them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import FINETUNE, PRETRAIN
from tests.faults.scene import Scene
from tests.faults.striking import NAMES, Ended, Forge, Job, array, compared, digest, evaluated, trained
from tests.faults.tally import Tally, table, write_figures

TALLIES = pytest.StashKey[dict[str, Tally]]()
OFTEN = ("--set", "checkpoint_minutes=0", "--set", "log_steps=1")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = config.stash[TALLIES]
    if not tallies:
        return
    terminalreporter.section("faults")
    for line in table(tallies):
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """The process that runs and strikes command lines."""
    forge = Forge()
    yield forge
    forge.close()


@pytest.fixture(scope="session")
def jobs(
    text_file: Path,
    labelled_file: Path,
    language_model_folder: Path,
    classifier_folder: Path,
    tiny_language_model: Callable[..., Path],
) -> dict[str, Job]:
    """By name; each takes about a second."""
    text, rows = ("text.txt", text_file), ("rows.jsonl", labelled_file)

    def pretrain(family: str) -> Job:
        sizes = {"vocab_size": 400, "epochs": 1, "batch_size": 8, "bptt": 48, "size": "tiny"}
        words = ("--text", text[0], *_assigned({**sizes, **PRETRAIN[family], "family": family}), *OFTEN)
        return Job("pretrain", words, "run", text, "--resume", trained)

    def finetune(model: Path, **values: object) -> Job:
        words = ("--model", str(model), "--data", rows[0], *_assigned(values), *OFTEN)
        return Job("finetune", words, "run", rows, "--resume", trained)

    def extract(name: str, result: Callable[[Path], Any]) -> Job:
        words = ("--model", str(language_model_folder), "--data", rows[0], "--layers", "all")
        return Job("extract-features", words, name, rows, "--force", result, ("--layers", "0"))

    gpt = tiny_language_model(family="gpt", **PRETRAIN["gpt"])
    models = f"{language_model_folder},{language_model_folder}:freeze"
    curve = (
        "--data",
        rows[0],
        "--models",
        models,
        "--labels",
        "12,all",
        "--seeds",
        "1",
        "--batch-size",
        "12",
    )
    quick = ("--set", "finetune.epochs=1", "--set", "finetune.lm_tuning=false")
    predict = ("--model", str(classifier_folder), rows[0], "--probabilities")
    evaluate = ("--model", str(classifier_folder), "--data", rows[0])
    return {
        "pretrain ulmfit": pretrain("ulmfit"),
        "pretrain gpt": pretrain("gpt"),
        "finetune ulmfit": finetune(language_model_folder, **FINETUNE),
        "finetune gpt": finetune(gpt, **{**FINETUNE, "lm_tuning": False, "epochs": 2}),
        "finetune freeze": finetune(language_model_folder, strategy="freeze", lm_tuning=False, ngrams=2),
        "extract-features parquet": extract("features.parquet", digest),
        "extract-features npy": extract("features.npy", array),
        "predict": Job("predict", predict, "labels.jsonl", rows, "--force", digest, ("--format", "csv")),
        "evaluate": Job("evaluate", evaluate, "figures", rows, "--force", evaluated, ("--batch-size", "1")),
        "compare": Job("compare", (*curve, *quick), "curve", rows, "--resume", compared),
    }


def _assigned(values: dict[str, object], prefix: str = "") -> list[str]:
    """Keys of a config as options of a command line."""
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            words += _assigned(value, f"{prefix}{key}.")
        else:
            words += ["--set", f"{prefix}{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return words


@pytest.fixture(scope="session")
def whole(
    jobs: dict[str, Job], forge: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Ended]]:
    """The folder of a job that nothing disturbed, and how it ended; run once."""
    done: dict[str, tuple[Path, Ended]] = {}

    def run(name: str) -> tuple[Path, Ended]:
        if name not in done:
            folder = jobs[name].prepare(tmp_path_factory.mktemp("whole") / "job")
            data = str(folder / jobs[name].data[0])  # whose openings are counted
            ended = forge.run(jobs[name].line(), folder, file=data)
            assert ended.code == 0, ended.said
            done[name] = folder, ended
        return done[name]

    return run


@pytest.fixture(scope="session")
def former(
    jobs: dict[str, Job], forge: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Path], None]:
    """Puts into a job's folder what a former run has written, to be replaced by `--force`."""
    done: dict[str, Path] = {}

    def put(name: str, folder: Path) -> None:
        job = jobs[name]
        if name not in done:
            done[name] = job.prepare(tmp_path_factory.mktemp("former") / "job")
            ended = forge.run(job.line(*job.otherwise), done[name])
            assert ended.code == 0, ended.said
        for path in done[name].iterdir():
            if path.is_dir() and path.name == job.output:
                shutil.copytree(path, folder / path.name)
            elif path.name.startswith(job.output):
                shutil.copy(path, folder)

    return put


@pytest.fixture(params=NAMES)
def scene(
    request: pytest.FixtureRequest,
    jobs: dict[str, Job],
    forge: Forge,
    whole: Callable[[str], tuple[Path, Ended]],
) -> Iterator[Scene]:
    """Each job in turn; nothing may be lost, and no error unclear."""
    name, tallies = request.param, request.config.stash[TALLIES]
    count, (folder, undisturbed) = tallies.setdefault(name, Tally()), whole(name)
    before, output = (len(count.unclear), len(count.lost)), folder / jobs[name].output
    strikes = int(request.config.getoption("--strikes"))

    yield Scene(name, jobs[name], forge, output, undisturbed, jobs[name].result(output), count, strikes)

    if (file := request.config.getoption("--figures")) is not None:
        write_figures(Path(file), tallies)  # after each test: the strikes take long
    wrong = [*count.unclear[before[0] :], *count.lost[before[1] :]]
    assert not wrong, "\n".join(wrong)
