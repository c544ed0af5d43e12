"""Command lines as jobs, the process that strikes them, and what is looked at after a strike."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

import nlptl.training.checkpoints as checkpoints

ROOT = Path(__file__).resolve().parents[2]
FORGE = Path(__file__).with_name("forge.py")
UNFINISHED = (".partial", ".retired")


@dataclass(frozen=True)
class Ended:
    """How a command line ended.

    Attributes:
        places: where it wrote, counted; see `forge.py`.
        orphans: processes that it had started and that did not end with it.
    """

    code: int
    printed: str
    said: str
    seconds: float
    places: int
    orphans: int

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
            strike: `signal` with `after` so many seconds or at the `place` of that number; `file_bytes` that a file
                may have at most; `memory` in bytes beside what is mapped; `powerless` before permissions; a `file`
                that is damaged (`damage`: vanishes, shrinks, grows) at its `opening` of that number.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "words": [*map(str, words), "--device", "cpu", "--precision", "fp32", "--offline"],
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
        result: what the output comes to; two outputs with the same are equal.
    """

    command: str
    words: tuple[str, ...]
    output: str
    data: tuple[str, Path]
    go_on: str
    result: Callable[[Path], Any]

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
        shutil.copy(self.data[1], folder / self.data[0])
        return folder

    @property
    def is_run(self) -> bool:
        """Whether it trains into a folder of checkpoints."""
        return self.command in ("pretrain", "finetune")


@dataclass
class Tally:
    """What came of the strikes at one command."""

    strikes: int = 0
    equal: int = 0
    clear: int = 0
    lost: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {
            "strikes": self.strikes,
            "resumed_equal": self.equal,
            "clear_errors": self.clear,
            "lost": len(self.lost),
        }


def trained(folder: Path) -> Any:
    """Hashes of the weights, of every stage."""
    found = sorted(folder.glob("**/model/model.safetensors"))
    return {str(file.relative_to(folder)): digest(file) for file in found}


def compared(folder: Path) -> Any:
    """The figures of a comparison, without what its cells took."""
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["peak_memory_mb"]
    json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return rows


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
    if (output / "results.json").exists() and job.result(output) not in known:
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
