"""Command lines as jobs, the process that strikes them, and what is looked at after a strike."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

import nlptl.training.checkpoints as checkpoints

ROOT = Path(__file__).resolve().parents[2]
FORGE = Path(__file__).with_name("forge.py")
UNFINISHED = (".partial", ".retired", ".removed")
NAMES = (
    "pretrain ulmfit", "pretrain gpt", "finetune ulmfit", "finetune gpt", "finetune freeze", "extract-features parquet",
    "extract-features npy", "predict", "evaluate", "compare",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command line ended.

    Attributes:
        places: where it wrote, counted; see `forge.py`.
        readings: how often it opened its data file.
        orphans: processes that it had started and that did not end with it.
        hung: it had to be ended; what it said ends with where it was.
        rival: how the command line ended that ran while it was stopped.
    """

    code: int
    printed: str
    said: str
    seconds: float
    places: int
    readings: int
    orphans: int
    hung: bool
    rival: dict[str, Any] | None

    @property
    def is_native(self) -> bool:
        """Native code has ended the process, as it does where it gets no memory and knows no error for it."""
        return not self.hung and self.code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGTRAP, 127)

    @property
    def is_clear(self) -> bool:
        """One to three lines that say what is wrong, with the exit code for it; a process that was killed says none."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return (
            self.code in (1, 2, 130)
            and len(errors) == 1
            and "Traceback" not in self.said
            and "internal: " not in self.said
        )


class Forge:
    """A process that has imported everything and runs command lines as forks of itself."""

    def __init__(self) -> None:
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, str(FORGE)],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, words: Sequence[str], folder: Path, **strike: Any) -> Ended:
        """Run a command line in a folder, where its cache is, too.

        Args:
            strike: `signal` with `after` so many seconds or at the `place` of that number, once more at `place_again`;
                `rival`, a command line that runs while this one has stopped itself (SIGSTOP); `forbidden`, a
                folder or file where from that `place` on nothing more can be made; `powerless` before permissions;
                `file_bytes` that a file may have at most; `memory` in bytes beside what is mapped; a `file` that is
                damaged (`damage`: vanishes, shrinks, halves, grows) `after`, at a `place`, or at its `opening` of
                that number.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        exact = ("--device", "cpu", "--precision", "fp32", "--offline")
        if "rival" in strike:
            strike["rival"] = [*map(str, strike["rival"]), *exact]
        request = {
            "words": [*map(str, words), *exact],
            "folder": str(folder),
            "environment": {"NLPTL_CACHE": str(folder / "cache")},
            "strike": strike,
        }
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the forge has died"
        return Ended(**json.loads(answer))

    def close(self) -> None:
        self.process.communicate()


@dataclass(frozen=True)
class Job:
    """A command line, and what there is to compare of its output, `out` in its folder.

    Attributes:
        words: without the output.
        output: the name of what it writes.
        data: the file that it reads, by the name that it is to have in the job's folder, and where to copy it from.
        go_on: what is added to go on after a strike, or to start afresh where there is no going on.
        otherwise: what is added for another result, such as a former run may have left.
        result: what the output comes to; two outputs with the same are equal.
    """

    command: str
    words: tuple[str, ...]
    output: str
    data: tuple[str, Path]
    go_on: str
    result: Callable[[Path], Any]
    otherwise: tuple[str, ...] = ("--seed", "1")

    def line(self, *more: str) -> list[str]:
        """The command line with its output."""
        seed = (
            ("--seed", "0") if self.go_on == "--resume" else ()
        )  # said, so that another run is not gone on with
        return [self.command, *self.words, *seed, "--output", self.output, *more]

    def prepare(self, folder: Path) -> Path:
        """A new folder with the data in it."""
        folder.mkdir(parents=True)
        (folder / "cache").mkdir()
        self.restore(folder)
        return folder

    def restore(self, folder: Path) -> None:
        """The data as it was, up to the time at which it was written."""
        shutil.copy2(self.data[1], folder / self.data[0])


def trained(folder: Path) -> Any:
    """Hashes of the weights, of every stage."""
    found = sorted(folder.glob("**/model/model.safetensors"))
    return {str(file.relative_to(folder)): digest(file) for file in found}


def compared(folder: Path) -> Any:
    """The figures of a comparison, without what its cells took, and the models that it keeps."""
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["peak_memory_mb"]
    kept = {file.parent.name: digest(file) for file in (folder / "models").glob("*/model.safetensors")}
    return rows, kept


def evaluated(folder: Path) -> Any:
    """The figures of an evaluation and its rows."""
    return [digest(folder / name) for name in ("metrics.json", "predictions.parquet")]


def array(file: Path) -> Any:
    """Vectors and what is said of them beside them."""
    beside = file.with_name(f"{file.name}.json")
    return digest(file), digest(beside) if beside.exists() else None


def digest(file: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def last_step(folder: Path) -> int:
    """The step of the newest checkpoint of the last stage that has one; later stages count for more."""
    found = 0
    for place, stage in ((folder / "lm", 0), (folder, 1000)):
        last = checkpoints.last_checkpoint(place / "checkpoints")
        if last is not None:
            found = max(found, stage + int(last.name.removeprefix(checkpoints.PREFIX)))
    return found


def half_written(job: Job, folder: Path, whole: Path, known: Sequence[Any]) -> list[str]:
    """What in the output of a struck run would be taken for whole and is not.

    Args:
        whole: the output of a run that nothing disturbed.
        known: results that may stand in an output: that of the run, and that of a former one.
    """
    output, wrong = folder / job.output, []
    if not output.exists():
        return []
    if output.is_file():
        return [] if job.result(output) in known else [f"{job.output} is neither the old one nor whole"]
    if (output / "metrics.json").exists() and job.result(output) not in known:
        wrong.append("metrics.json stands beside an unfinished model")
    if (output / "results.json").exists() and job.result(output) not in known and not _failed_cells(output):
        wrong.append("results.json is not whole")
    for file in output.glob("**/*.json"):
        if not any(part.endswith(UNFINISHED) for part in file.parts):
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                wrong.append(f"{file.relative_to(output)} is cut short")
    for name in ("model", "lm/model", "tokenizer"):
        if (output / name).exists():
            wrong += _incomplete(output / name, whole / name)
    for place in ("checkpoints", "lm/checkpoints"):
        # Older ones may be on their way out: nothing reads them while there is a newer one.
        last, like = (checkpoints.last_checkpoint(folder / place) for folder in (output, whole))
        if last is not None and like is not None:
            wrong += _incomplete(last, like)
    return wrong


def _failed_cells(comparison: Path) -> list[str]:
    """The errors of cells that a comparison tells, and that it tries again when it goes on."""
    points = json.loads((comparison / "results.json").read_text(encoding="utf-8"))["points"]
    return [cell["error"] for point in points for cell in point["cells"] if cell["error"]]


def _incomplete(folder: Path, like: Path) -> list[str]:
    """What a folder lacks that another one of its kind has, and weights that do not load."""
    missing = {path.name for path in like.iterdir()} - {path.name for path in folder.iterdir()}
    wrong = [f"{folder.name} lacks {name}" for name in sorted(missing)]
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118  # no mapping
                    weights.get_tensor(name)
        except Exception as error:
            wrong.append(f"{folder.name}/{file.name} does not load ({error})")
    return wrong
