"""What a stage of training is to do, and what it says of itself when it is done."""

from __future__ import annotations

import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from nlptl.training.precision import Precision


@dataclass(frozen=True)
class TrainingPlan:
    """How weights move in one stage of a run.

    Attributes:
        stage: its name for people.
        output: the run's folder: `checkpoints/`, `model/` and `log.jsonl` are written in it.
        max_steps: stop after so many steps where `epochs` takes more; None for whole epochs.
        early_stopping: stop after so many evaluations without a better one; 0 for never.
    """

    stage: str
    output: Path
    epochs: int
    learning_rate: float
    discriminative_decay: float
    schedule: str
    optimizer: str
    betas: tuple[float, float]
    weight_decay: float
    gradient_clip: float
    device: torch.device
    precision: Precision
    seed: int
    max_steps: int | None = None
    early_stopping: int = 0
    checkpoint_minutes: float = 5.0
    log_steps: int = 20
    evaluate_steps: int = 0
    tracker: str = "none"


@dataclass
class Evaluation:
    """What an evaluation on held-out data says: figures, and a score of which more is better."""

    figures: dict[str, float]
    score: tuple[float, ...]


@dataclass(frozen=True)
class TrainingResult:
    """A finished stage: steps and tokens over all its sittings, seconds of work, MiB at the peak, held-out curve."""

    steps: int
    epochs: float
    tokens: int
    seconds: float
    peak_memory_mb: float
    history: list[dict[str, float]]
    best_step: int


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far, MiB: of the GPU where the run is on one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux hands a process's peak on to what it starts: the peak of this program alone is elsewhere.
    status = Path("/proc/self/status")
    if status.is_file() and (own := re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))):
        return int(own[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
