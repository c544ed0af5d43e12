"""What tests of several rooms start from: short reviews, and a language model that was trained on them here."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

# Test classes that several test files inherit are imported by their path from the project's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
pytest.register_assert_rewrite(
    "tests.families.contract", "tests.families.contract_heads", "tests.families.contract_learning"
)

SUBJECTS = ("the film", "this story", "her acting", "the music", "a long scene")
PRAISE = ("was wonderful", "is great", "made me smile", "shines brightly")
BLAME = ("was awful", "is dull", "made me sleep", "falls flat")
# Every key that decides how long a run takes; large enough for rounding to show, small enough for a second's run.
TINY_RUN: dict[str, Any] = {
    "device": "cpu",
    "precision": "fp32",
    "architecture": {"embedding_size": 8, "hidden_size": 12},
    "batch_size": 4,
    "bptt": 16,
    "log_steps": 1,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption(
        "--faults",
        action="store_true",
        help="strike the commands while they run, and whatever else takes minutes; and no other test",
    )
    group.addoption("--strikes", type=int, default=50, metavar="N", help="kills of each job with --faults")
    group.addoption("--figures", metavar="FILE", help="write what came of the strikes as JSON")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Strikes, and what is as slow, are run on their own or not at all."""
    wanted = bool(config.getoption("--faults"))
    others = [item for item in items if (item.get_closest_marker("faults") is not None) != wanted]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests, and the processes that they start, leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("NLPTL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def reviews() -> list[tuple[str, str]]:
    """120 short reviews, (text, "good" or "bad"), each class by turns."""
    draw = random.Random(0)
    rows = []
    for number in range(120):
        label = ("good", "bad")[number % 2]
        verdicts = PRAISE if label == "good" else BLAME
        sentences = [f"{draw.choice(SUBJECTS)} {draw.choice(verdicts)}." for _ in range(draw.randint(1, 5))]
        rows.append((" ".join(sentences), label))
    return rows


@pytest.fixture(scope="session")
def text_file(reviews: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts of the reviews, one a line."""
    file = tmp_path_factory.mktemp("text") / "reviews.txt"
    file.write_text("".join(f"{text}\n" for text, _ in reviews), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def labelled_file(reviews: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first forty reviews with their labels, as JSON lines."""
    file = tmp_path_factory.mktemp("labelled") / "reviews.jsonl"
    rows = [json.dumps({"text": text, "label": label}) for text, label in reviews[:40]]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def tiny_language_model(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a language model as `nlptl pretrain` does, once for each set of config values; gives its run's folder."""
    made: dict[str, Path] = {}

    def train(**values: Any) -> Path:
        import nlptl
        from nlptl.commands.invocation import Invocation
        from nlptl.commands.pretrain import pretrain
        from nlptl.config import PretrainConfig, validated
        from nlptl.training.progress import Reporter

        nlptl.register_families()
        key = json.dumps(values, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("lm") / "run"
            defaults = {
                "family": "ulmfit",
                "size": "tiny",
                "vocab_size": 400,
                "epochs": 1,
                "sampled_softmax": 0,
            }
            own = {"text": [str(text_file)], "output": str(folder)}
            pretrain(
                validated(PretrainConfig, {**TINY_RUN, **defaults, **own, **values}),
                Invocation(reporter=Reporter(True)),
            )
            made[key] = folder
        return made[key]

    return train


@pytest.fixture(scope="session")
def language_model_folder(tiny_language_model: Callable[..., Path]) -> Path:
    """The run's folder of a forward ULMFiT language model."""
    return tiny_language_model()


@pytest.fixture(scope="session")
def backward_language_model_folder(tiny_language_model: Callable[..., Path]) -> Path:
    """The run's folder of its backward companion, with the same tokenizer."""
    return tiny_language_model(backward=True)


@pytest.fixture(scope="session")
def tiny_classifier(
    labelled_file: Path, language_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Trains a classifier as `nlptl finetune` does, once for each set of config values; gives its run's folder."""
    made: dict[str, Path] = {}

    def train(**values: Any) -> Path:
        from nlptl.commands.finetune import finetune
        from nlptl.commands.invocation import Invocation
        from nlptl.config import FinetuneConfig, validated
        from nlptl.training.progress import Reporter

        key = json.dumps(values, sort_keys=True, default=str)
        if key not in made:
            folder = tmp_path_factory.mktemp("classifier") / "run"
            shared = {name: TINY_RUN[name] for name in ("device", "precision", "log_steps")}
            defaults = {"lm_tuning": False, "epochs": 3, "batch_size": 12, "learning_rate": 0.02}
            own = {"model": str(language_model_folder), "data": str(labelled_file), "output": str(folder)}
            finetune(
                validated(FinetuneConfig, {**shared, **defaults, **own, **values}),
                Invocation(reporter=Reporter(True)),
            )
            made[key] = folder
        return made[key]

    return train


@pytest.fixture(scope="session")
def classifier_folder(tiny_classifier: Callable[..., Path]) -> Path:
    """The run's folder of a classifier with the labels "bad" and "good"."""
    return tiny_classifier()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """Runs a command line in this process, word by word, on the CPU in full precision; `stdin` is in bytes."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    handler = signal.getsignal(signal.SIGTERM)

    def run(*words: Any, stdin: bytes = b"") -> CompletedProcess[str]:
        from nlptl import cli

        line = [str(word) for word in words] + ["--device", "cpu", "--precision", "fp32", "--offline"]
        monkeypatch.setattr(sys, "argv", ["nlptl", *line])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capsys.readouterr()
        code = cli.main()
        return CompletedProcess(line, code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def finetune(
    command: Callable[..., CompletedProcess[str]],
    language_model_folder: Path,
    labelled_file: Path,
    tmp_path: Path,
) -> Callable[..., dict[str, Any]]:
    """Fine-tunes into `tmp_path / "run"` and gives the report, what was said added to it."""

    def run(*words: Any, model: Path = language_model_folder, data: Path = labelled_file) -> dict[str, Any]:
        line = ("finetune", "--model", model, "--data", data, "-o", tmp_path / "run", "--json")
        outcome = command(*line, *words)
        assert outcome.returncode == 0, outcome.stderr
        return {**json.loads(outcome.stdout), "said": outcome.stderr}

    return run
