"""Two processes come to what one comes to: loss curves, resumed runs, features, predictions and figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlptl.training.checkpoints import last_checkpoint
from tests.commands.striking import CLASSIFIER, LANGUAGE_MODEL
from tests.distributed.several import Run, reports, run, write_runs

pytestmark = pytest.mark.timeout(900)  # for a busy machine: the processes take long to import everything

TOLERANCE = 1e-4
ROOT = Path(__file__).resolve().parents[2]
SEVERAL = ROOT / "tests" / "distributed" / "several.py"
HEAD = {"head_dropouts": [0.0, 0.0]}
ULMFIT_DROPOUTS = ("input", "hidden_layer", "output", "embedding", "weight")
# Small models without dropout, as language models and as classifiers.
SIZES: dict[str, dict[str, Any]] = {
    "ulmfit": {
        "embedding_size": 8,
        "hidden_size": 12,
        **{f"{part}_dropout": 0.0 for part in ULMFIT_DROPOUTS},
    },
    "elmo": {"projection_size": 4, "cell_size": 6, "dropout": 0.0},
    "wordvectors": {"embedding_size": 8},
    "gpt": {"n_embd": 8, "n_positions": 32, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
    "transformer": {"width": 8, "feed_forward_width": 16, "max_positions": 32, "dropout": 0.0},
}
# The vectors of words hardly vary after so few steps: normalised over a batch, they would be made of rounding.
AS_CLASSIFIER: dict[str, dict[str, Any]] = {
    "ulmfit": {**{f"{part}_dropout": 0.0 for part in ULMFIT_DROPOUTS}, "chunk_length": 8, **HEAD},
    "elmo": {"dropout": 0.0, "vector_dropout": 0.0, **HEAD},
    "wordvectors": {"head": "linear"},
    "gpt": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "classifier_dropout": 0.0},
    "transformer": {"dropout": 0.0, "classifier_dropout": 0.0},
}
CANDIDATES = {"ulmfit": 32, "elmo": 8, "wordvectors": 5, "gpt": 32, "transformer": 0}
SAID_EVERY_STEP = {"log_steps": 1}
SAVED_EVERY_STEP = {"checkpoint_minutes": 0}
# A batch of five rows is one of two and one of three.
PRETRAIN = {"size": "tiny", "vocab_size": 400, "epochs": 2, "batch_size": 5, "bptt": 24, "max_steps": 6}
FINETUNE = {"batch_size": 7, "epochs": 2, "lm_tuning": False, "gradual_unfreezing": True}
WEIGHTED = {"class_weight": "balanced", "limit": 31, "schedule": "constant", "lm_weight": 0.5}
TUNING = {
    "epochs": 1,
    "batch_size": 3,
    "bptt": 24,
    "architecture": {f"{part}_dropout": 0.0 for part in ULMFIT_DROPOUTS},
}
HEADS = ("logistic", "bilstm-attention")
FROZEN = {"strategy": "freeze", "architecture": {}}
RESUMED = ("ulmfit", "elmo")
DROPPING = {"embedding_size": 8, "hidden_size": 12, "hidden_layer_dropout": 0.5}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the processes that tests start have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def language_models(text_file: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained language model of each family under its name."""
    pytest.importorskip("gensim", reason="gensim trains the vectors")
    folder = tmp_path_factory.mktemp("language-models")
    for family in SIZES:
        run(_pretraining(family, text_file, folder / family))
    return folder


def _pretraining(family: str, text: Path, output: Path, **values: Any) -> Run:
    model = {"family": family, "architecture": SIZES[family], "sampled_softmax": CANDIDATES[family]}
    return Run(
        "pretrain",
        {**PRETRAIN, **SAID_EVERY_STEP, **model, "text": [str(text)], "output": str(output), **values},
    )


@pytest.fixture(scope="module")
def done(
    language_models: Path, text_file: Path, labelled_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of runs of the same names: by one process, and by two, which are started once for all of them."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))

    def pretraining(family: str, output: Path, **values: Any) -> Run:
        return _pretraining(family, text_file, output, **values)

    def finetuning(family: str, output: Path, **values: Any) -> Run:
        own = {"model": str(language_models / family), "data": str(labelled_file), "output": str(output)}
        own["architecture"] = AS_CLASSIFIER[family]
        return Run("finetune", {**FINETUNE, **SAID_EVERY_STEP, **own, **values})

    def runs(folder: Path) -> list[Run]:
        return [
            *(pretraining(family, folder / f"lm-{family}") for family in SIZES),
            pretraining("ulmfit", folder / "lm-of-one-stream", batch_size=1),
            *(finetuning(family, folder / f"classifier-{family}") for family in SIZES),
            finetuning("ulmfit", folder / "classifier-of-one-row", batch_size=1, limit=6),
            finetuning("gpt", folder / "classifier-weighted", **WEIGHTED),
            finetuning("ulmfit", folder / "classifier-tuned", lm_tuning=True, lm=TUNING),
            *(finetuning("elmo", folder / f"frozen-{head}", head=head, **FROZEN) for head in HEADS),
        ]

    def uses(folder: Path) -> list[Run]:
        data = {"data": str(labelled_file), "batch_size": 3}
        classifier = {**data, "model": str(one / "classifier-ulmfit")}
        lines = {**classifier, "data": "-" if folder is two else str(labelled_file)}
        encoder = {**data, "model": str(language_models / "transformer")}
        tokens = {**data, "model": str(language_models / "elmo"), "level": "token", "layers": "all"}
        return [
            Run("evaluate", classifier),
            Run("predict", {**classifier, "probabilities": True, "output": str(folder / "labels.jsonl")}),
            Run("predict", {**lines, "output": str(folder / "lines.jsonl")}),
            Run("extract-features", {**encoder, "output": str(folder / "texts.npy")}),
            Run("extract-features", {**tokens, "output": str(folder / "tokens.safetensors")}),
            Run(
                "extract-features",
                {**tokens, "stateful": True, "output": str(folder / "stateful.safetensors")},
            ),
        ]

    def broken_off(name: str) -> list[Run]:
        killed = [
            replace(
                pretraining(family, two / f"{name}-lm-{family}", **SAVED_EVERY_STEP),
                killed_at=(LANGUAGE_MODEL, 4),
            )
            for family in RESUMED
        ]
        classifier = finetuning("ulmfit", two / f"{name}-classifier-ulmfit", **SAVED_EVERY_STEP)
        return [*killed, replace(classifier, killed_at=(CLASSIFIER, 8))]

    def gone_on(name: str) -> list[Run]:
        return [replace(wanted, resume=True, killed_at=None) for wanted in broken_off(name)]

    dropping = pretraining("ulmfit", two / "dropping", architecture=DROPPING, **SAVED_EVERY_STEP)
    resumed = {**dropping.values, "output": str(two / "dropping-resumed")}
    with_dropout = [
        dropping,
        replace(dropping, values=resumed, killed_at=(LANGUAGE_MODEL, 4)),
        replace(dropping, values=resumed, resume=True),
    ]

    by_one = [run(wanted) for wanted in [*runs(one), *uses(one)]]
    (one / "runs.reports").write_text(json.dumps(by_one), encoding="utf-8")
    for wanted in broken_off("1-2"):
        run(wanted)
    by_two = [
        *runs(two),
        *uses(two),
        *broken_off("2-1"),
        *broken_off("2-2"),
        *gone_on("2-2"),
        *gone_on("1-2"),
        *with_dropout,
    ]
    write_runs(by_two, two / "runs.json")
    process = started([str(SEVERAL), str(two / "runs.json")], two / "cache")
    texts = [json.loads(line)["text"] for line in labelled_file.read_text(encoding="utf-8").splitlines()]
    _, said = process.communicate("\n".join(texts))
    assert process.returncode == 0, said
    for wanted in gone_on("2-1"):
        run(wanted)
    return one, two


def started(arguments: list[str], cache: Path) -> subprocess.Popen[str]:
    """Two processes by torchrun, in a process group of their own, as a terminal has one."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launch, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NLPTL_CACHE": str(cache)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_curve(one: Path, two: Path) -> None:
    """Losses and held-out figures are those of the global batch, and the rest of the log is the same."""
    lines, others = curve(one), curve(two)
    for key in ("step", "epoch", "learning_rates", "trained"):
        assert [line.get(key) for line in lines] == [line.get(key) for line in others]
    for line, other in zip(lines, others, strict=True):
        assert figures(line) == pytest.approx(figures(other), rel=TOLERANCE, abs=TOLERANCE)


def figures(line: dict[str, Any]) -> dict[str, float]:
    """Of a step or of an evaluation; not the accuracy, which one text in four turns by its last digit."""
    found = line.get("evaluation") or {"loss": line["loss"]}
    return {name: figure for name, figure in found.items() if "accuracy" not in name}


def tokens(folder: Path) -> int:
    """So many the run has counted."""
    checkpoint = last_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    state = next(name for name in ("nlptl_state.json", "state.json") if (checkpoint / name).is_file())
    counted: int = json.loads((checkpoint / state).read_text(encoding="utf-8"))["tokens"]
    return counted


@pytest.mark.parametrize("family", list(SIZES))
@pytest.mark.parametrize("kind", ["lm", "classifier"])
def test_every_family_learns_alike(done: tuple[Path, Path], family: str, kind: str) -> None:
    """From batches of which one process has a row more than the other, the classifier unfreezing gradually."""
    one, two = (folder / f"{kind}-{family}" for folder in done)
    assert_same_curve(one, two)
    assert tokens(one) == tokens(two)


@pytest.mark.parametrize(
    "name",
    [
        "lm-of-one-stream",
        "classifier-of-one-row",
        "classifier-weighted",
        "classifier-tuned",
        "classifier-tuned/lm",
    ],
)
def test_batches_of_other_kinds(done: tuple[Path, Path], name: str) -> None:
    """Fewer rows than processes; weighted classes and a loss beside theirs; a language model tuned first."""
    one, two = (folder / name for folder in done)
    assert_same_curve(one, two)
    assert tokens(one) == tokens(two)


@pytest.mark.parametrize("change", ["2-1", "2-2", "1-2"])
@pytest.mark.parametrize("run_name", [*(f"lm-{family}" for family in RESUMED), "classifier-ulmfit"])
def test_resumed_by_as_many_processes_or_by_others(
    done: tuple[Path, Path], run_name: str, change: str
) -> None:
    one, two = done
    assert_same_curve(one / run_name, two / f"{change}-{run_name}")


def test_each_process_goes_on_with_its_own_random_numbers(done: tuple[Path, Path]) -> None:
    _, two = done
    for key in ("loss", "grad_norm", "evaluation"):
        curves = [[line.get(key) for line in curve(two / name)] for name in ("dropping", "dropping-resumed")]
        assert curves[0] == curves[1]


@pytest.mark.parametrize("head", HEADS)
def test_a_head_on_frozen_features_is_the_same(done: tuple[Path, Path], head: str) -> None:
    weights = [(folder / f"frozen-{head}" / "model" / "model.safetensors").read_bytes() for folder in done]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("name", ["labels.jsonl", "texts.npy", "stateful.safetensors"])
def test_outputs_are_the_same(done: tuple[Path, Path], name: str) -> None:
    one, two = ((folder / name).read_bytes() for folder in done)
    assert one == two


def test_vectors_of_tokens_are_the_same(done: tuple[Path, Path]) -> None:
    """ELMo remembers words that it has met, and rounds one otherwise where it met it first in other company."""
    one, two = (load_file(folder / "tokens.safetensors") for folder in done)
    assert list(one) == list(two)
    for name, vectors in one.items():
        torch.testing.assert_close(two[name], vectors, rtol=0, atol=1e-6)


def test_only_the_leader_reads_standard_input(done: tuple[Path, Path]) -> None:
    """Batches are of the lines that are there when it is read, and round otherwise."""
    one, two = ((folder / "lines.jsonl").read_text(encoding="utf-8").splitlines() for folder in done)
    assert len(two) == len(one)
    for line, other in zip(map(json.loads, one), map(json.loads, two), strict=True):
        assert line["label"] == other["label"]
        assert line["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_reports_are_the_same(done: tuple[Path, Path]) -> None:
    one, two = (reports(folder / "runs.json") for folder in done)
    measured = next(report for report in one if "accuracy" in report)
    assert measured in two
    for report, other in zip(one, two, strict=False):
        for key in ("steps", "train_tokens", "train_examples", "epochs", "rows", "width", "bytes"):
            assert report.get(key) == other.get(key)


def test_one_writes_and_speaks(done: tuple[Path, Path]) -> None:
    one, two = done
    for name in ("lm-ulmfit", "classifier-ulmfit"):
        assert names(one / name) == names(two / name)


def names(folder: Path) -> set[str]:
    """Of everything in a run's folder but the states of random numbers, of which each process has its own."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in found if "rng_state" not in name}


def test_what_the_leader_finds_ends_all(text_file: Path, tmp_path: Path) -> None:
    """Only the leader looks whether the output folder is free; nobody waits for ever, and one says why."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    command = ["-m", "nlptl", "pretrain", "--family", "ulmfit", "--text", str(text_file), "--device", "cpu"]
    process = started([*command, "-o", str(tmp_path / "run")], tmp_path / "cache")
    printed, said = process.communicate()
    assert process.returncode == 1  # torchrun's own, whatever the processes end with
    assert "exitcode  : 2" in said
    assert said.count("error: the output folder is not empty") == 1
    assert not printed


def test_interrupted_by_the_keyboard(text_file: Path, tmp_path: Path) -> None:
    """The terminal tells all processes, and torchrun tells them once more, while they save."""
    command = ["-m", "nlptl", "pretrain", "--family", "ulmfit", "--size", "tiny", "--epochs", "1000"]
    command += ["--vocab-size", "400", "--bptt", "24", "--text", str(text_file), "--device", "cpu"]
    output = tmp_path / "run"
    process = started([*command, "--set", "checkpoint_minutes=0", "-o", str(output)], tmp_path / "cache")
    while last_checkpoint(output / "checkpoints") is None and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert said.count("error: stopped, and saved") == 1
    assert "nlptl/training" not in said  # in a traceback of ours
    assert f"--output {output} --resume" in said
