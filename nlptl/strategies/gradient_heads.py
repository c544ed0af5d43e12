"""Heads that are trained by gradients on frozen features: settings and epochs chosen by the validation texts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nlptl.errors import RunFailed
from nlptl.nn.heads import head_penalty
from nlptl.strategies.class_weights import weighted_loss
from nlptl.training.batching import LengthBuckets
from nlptl.training.models import LayeredClassifier
from nlptl.training.progress import Reporter

GRADIENT_CLIP = 5.0


class HeadInput(Protocol):
    """Frozen features of some texts, as one head reads them."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, ...]:
        """What the head's `forward` takes of these texts."""


@dataclass(frozen=True)
class DocumentVectors:
    """One vector a text, (texts, width)."""

    vectors: NDArray[np.float32]

    @property
    def lengths(self) -> list[int]:
        """All alike."""
        return [1] * len(self.vectors)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, ...]:
        """(rows, width)."""
        return (torch.from_numpy(self.vectors[np.asarray(rows)]),)


@dataclass(frozen=True)
class LabelledInput:
    """What one head learns from, or is measured on.

    Attributes:
        labels: (texts,) class numbers, or (texts, classes) of zeros and ones.
        class_weights: (classes,) as `balanced_weights` gives them, or None; they count in training and measuring.
    """

    inputs: HeadInput
    labels: NDArray[Any]
    class_weights: Tensor | None


@dataclass(frozen=True)
class Setting:
    """How strongly a fit is regularised: AdamW's rate and weight decay."""

    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class FitPlan:
    """How a kind of head is trained.

    Attributes:
        epochs: at most, with each setting.
        patience: epochs without a lower validation loss after which a setting is given up.
    """

    settings: tuple[Setting, ...]
    epochs: int
    patience: int
    batch_size: int


MLP = FitPlan(
    settings=tuple(Setting(rate, weight_decay=1e-2) for rate in (3e-4, 1e-3, 3e-3)),
    epochs=60,
    patience=10,
    batch_size=64,
)
TOKEN_HEAD = FitPlan(
    settings=tuple(Setting(rate, weight_decay=1e-2) for rate in (1e-3, 3e-3, 1e-2)),
    epochs=30,
    patience=4,
    batch_size=32,
)


def fit_heads(
    classifier: LayeredClassifier,
    plan: FitPlan,
    train: Sequence[LabelledInput],
    validation: Sequence[LabelledInput],
    seed: int,
    reporter: Reporter,
) -> list[dict[str, float]]:
    """Train each head by AdamW; of all settings and epochs the one with the least validation log loss is kept.

    Args:
        train, validation: one entry a head.

    Returns:
        The setting and the epoch chosen, by head.

    Raises:
        RunFailed: no setting gave a finite validation loss.
    """
    heads = classifier.heads()
    steps = plan.epochs * len(_buckets(plan, train[0], seed))
    progress = _Progress(reporter)
    reporter.start("head", len(heads) * len(plan.settings) * steps)
    try:
        chosen = []
        for number, head in enumerate(heads):
            progress.first, progress.least = number * len(plan.settings) * steps, math.inf
            chosen.append(_fit_head(head, plan, train[number], validation[number], seed, progress))
        return chosen
    finally:
        reporter.finish()


@dataclass
class _Progress:
    """Optimizer steps done since `first`, where the present fit began, and the least validation loss of the head."""

    reporter: Reporter
    first: int = 0
    least: float = math.inf

    def say(self, steps: int) -> None:
        figures = f"validation loss {self.least:.4f} at best" if math.isfinite(self.least) else "first epoch"
        self.reporter.advance(self.first + steps, figures)


def _buckets(plan: FitPlan, data: LabelledInput, seed: int) -> LengthBuckets:
    return LengthBuckets(data.inputs.lengths, plan.batch_size, seed)


def _fit_head(
    head: nn.Module,
    plan: FitPlan,
    train: LabelledInput,
    validation: LabelledInput,
    seed: int,
    progress: _Progress,
) -> dict[str, float]:
    """Leave the best weights in the head, in evaluation mode."""
    start = best = _weights(head)
    chosen: dict[str, float] = {}
    for setting in plan.settings:
        head.load_state_dict(start)
        torch.manual_seed(seed)
        lowest, since = math.inf, 0
        for epoch, loss in enumerate(
            _epochs(head, plan, setting, train, validation, seed, progress), start=1
        ):
            if loss < progress.least:
                progress.least, best = loss, _weights(head)
                chosen = {**dataclasses.asdict(setting), "epoch": epoch}
            since = 0 if loss < lowest else since + 1
            lowest = min(loss, lowest)
            if since >= plan.patience or not math.isfinite(loss):
                break
        progress.first += plan.epochs * len(_buckets(plan, train, seed))
    if not chosen:
        raise RunFailed(
            "the validation loss is not finite with any setting", "the head", "try another --head or model"
        )
    head.load_state_dict(best)
    head.eval()
    return chosen


def _epochs(
    head: nn.Module,
    plan: FitPlan,
    setting: Setting,
    train: LabelledInput,
    validation: LabelledInput,
    seed: int,
    progress: _Progress,
) -> Iterator[float]:
    """Train epoch by epoch, and give the validation loss after each."""
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=setting.learning_rate, weight_decay=setting.weight_decay
    )
    buckets, done = _buckets(plan, train, seed), 0
    for epoch in range(plan.epochs):
        head.train()
        buckets.set_epoch(epoch)
        for rows in buckets:
            scores, labels, weights = _scored(head, train, rows)
            loss = weighted_loss(scores, labels, weights)
            optimizer.zero_grad()
            (loss + head_penalty(head, loss)).backward()
            nn.utils.clip_grad_norm_(head.parameters(), GRADIENT_CLIP)
            optimizer.step()
            done += 1
            progress.say(done)
        yield _measured(head, plan, validation, seed)


@torch.inference_mode()
def _measured(head: nn.Module, plan: FitPlan, data: LabelledInput, seed: int) -> float:
    """Log loss over all texts."""
    head.eval()
    parts = [_scored(head, data, rows) for rows in _buckets(plan, data, seed)]
    scores, labels = (torch.cat(column) for column in list(zip(*parts, strict=True))[:2])
    return float(weighted_loss(scores, labels, parts[0][2]))


def _scored(
    head: nn.Module, data: LabelledInput, rows: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, labels and class weights of these texts, where the head is."""
    device = next(head.parameters()).device
    scores = head(*(x.to(device) for x in data.inputs.batch(rows)))
    weights = None if data.class_weights is None else data.class_weights.to(device)
    return scores, torch.from_numpy(data.labels[np.asarray(rows)]).to(device), weights


def _weights(head: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}
