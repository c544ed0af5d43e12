"""Small jobs of every command, what they come to when nothing disturbs them, and the figures of the strikes at them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import FINETUNE, PRETRAIN
from tests.faults.striking import Ended, Forge, Job, Tally, compared, digest, trained

TALLIES = pytest.StashKey[dict[str, Tally]]()
OFTEN = ("--set", "checkpoint_minutes=0", "--set", "log_steps=1")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = config.stash[TALLIES]
    if not tallies:
        return
    terminalreporter.section("faults")
    terminalreporter.line(f"{'command':24}{'strikes':>9}{'resumed equal':>15}{'clear errors':>14}{'lost':>6}")
    for name, tally in tallies.items():
        figures = f"{tally.strikes:9}{tally.equal:15}{tally.clear:14}{len(tally.lost):6}"
        terminalreporter.line(f"{name:24}{figures}")


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """The process that runs and strikes command lines."""
    forge = Forge()
    yield forge
    forge.close()


@pytest.fixture(scope="session")
def strikes(request: pytest.FixtureRequest) -> int:
    """How often each job is killed."""
    return int(request.config.getoption("--strikes"))


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

    def extract(name: str) -> Job:
        words = ("--model", str(language_model_folder), "--data", rows[0], "--layers", "all")
        return Job("extract-features", words, name, rows, "--force", digest)

    gpt = tiny_language_model(family="gpt", **PRETRAIN["gpt"])
    models = f"{language_model_folder},{language_model_folder}:freeze"
    curve = ("--data", rows[0], "--models", models, "--labels", "12,all", "--batch-size", "12")
    quick = ("--set", "finetune.epochs=1", "--set", "finetune.lm_tuning=false")
    predict = ("--model", str(classifier_folder), rows[0], "--probabilities")
    return {
        "pretrain ulmfit": pretrain("ulmfit"),
        "pretrain gpt": pretrain("gpt"),
        "finetune ulmfit": finetune(language_model_folder, **FINETUNE),
        "finetune gpt": finetune(gpt, **{**FINETUNE, "lm_tuning": False, "epochs": 2}),
        "finetune freeze": finetune(language_model_folder, strategy="freeze", lm_tuning=False),
        "extract-features parquet": extract("features.parquet"),
        "extract-features npy": extract("features.npy"),
        "predict": Job("predict", predict, "labels.jsonl", rows, "--force", digest),
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
            ended = forge.run(jobs[name].line(), folder)
            assert ended.code == 0, ended.said
            done[name] = folder, ended
        return done[name]

    return run


@pytest.fixture(scope="session")
def former(
    jobs: dict[str, Job], forge: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Path], None]:
    """Puts into a job's folder what a former run with another seed has written, to be replaced by `--force`."""
    done: dict[str, Path] = {}

    def put(name: str, folder: Path) -> None:
        job = jobs[name]
        if not job.is_run:
            if job.command != "compare":
                (folder / job.output).write_text("old", encoding="utf-8")
            return
        if name not in done:
            done[name] = job.prepare(tmp_path_factory.mktemp("former") / "job")
            ended = forge.run(job.line("--seed", "1"), done[name])
            assert ended.code == 0, ended.said
        shutil.copytree(done[name] / job.output, folder / job.output)

    return put


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Tally]]:
    """The figures of a job by its name; nothing may be lost."""
    tallies = request.config.stash[TALLIES]
    before = {name: len(tally.lost) for name, tally in tallies.items()}

    yield lambda name: tallies.setdefault(name, Tally())

    lost = [
        f"{name}: {each}" for name, tally in tallies.items() for each in tally.lost[before.get(name, 0) :]
    ]
    assert not lost, "\n".join(lost)
