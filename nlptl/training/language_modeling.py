"""Training and measuring a language model on windows of text; for any family."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl import processes
from nlptl.nn.softmax import CandidateSampler
from nlptl.training.models import LayeredModel
from nlptl.training.progress import Reporter
from nlptl.training.recurrent_state import detached
from nlptl.training.trainers import Evaluation, LanguageModelTrainer, TrainingPlan, TrainingResult

Window = tuple[NDArray[np.integer[Any]], ...]
WindowCollate = Callable[[Sequence[Window]], dict[str, Tensor]]


class WindowStreams(Protocol):
    """Windows of a corpus in order: item i is window i // rows of stream i % rows.

    A window is a tuple of arrays: inputs and targets, and whatever else the family's `window_collate` takes. Windows
    that are not the same in each pass over the corpus have `set_epoch`, which is told the pass that begins.
    """

    @property
    def rows(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, item: int) -> Window: ...


@dataclass(frozen=True)
class HeldOut:
    """Held-out text: its windows, and how many characters and tokens it has, for bits per character."""

    windows: WindowStreams
    characters: int
    tokens: int


@dataclass(frozen=True)
class LanguageModelJob:
    """All that training a language model takes, in whatever way its family trains it.

    Attributes:
        model: new, or one that goes on.
        tokenizer: the model's.
        texts: the training text itself, which may be read again and again.
        windows: the same as windows of token ids.
        held_out: what the best model is chosen by.
        plan: how weights move.
        collate: windows -> a training batch; `measure`: windows -> a batch to measure with, always the same for
            the same windows.
        figures: how well a model does on held-out text, as the family measures it.
        counts: (vocabulary,), occurrences of each token in the training text.
        candidates: train against so many sampled words; 0 for the full softmax.
        save: writes a model folder into the path it is given.
        resume: go on from the last checkpoint.
    """

    model: LayeredModel
    tokenizer: PreTrainedTokenizerBase
    texts: Iterable[str]
    windows: WindowStreams
    held_out: HeldOut
    plan: TrainingPlan
    collate: WindowCollate
    measure: WindowCollate
    figures: Callable[[LayeredModel, HeldOut, WindowCollate, torch.device], dict[str, float]]
    counts: Tensor
    candidates: int
    save: Callable[[Path], None]
    reporter: Reporter
    resume: bool


def train_language_model(job: LanguageModelJob) -> TrainingResult:
    """Train by gradients on windows of text; the model that predicts the held-out text best is in the run's `model/`.

    Raises:
        Interrupted, RunFailed: as `RunTrainer.run`.
    """
    device = job.plan.device

    def evaluate() -> Evaluation:
        figures = processes.first(lambda: job.figures(job.model, job.held_out, job.measure, device))
        return Evaluation(figures, score=(-figures["loss"],))

    sampler = CandidateSampler(job.counts, job.candidates, job.plan.seed) if job.candidates else None
    trainer = LanguageModelTrainer(
        job.model,
        job.plan,
        _loader(job.windows, job.collate),
        evaluate=evaluate,
        save=job.save,
        reporter=job.reporter,
        draw_candidates=None if sampler is None else lambda step: sampler.draw(step, device),
        on_epoch=getattr(job.windows, "set_epoch", None),
    )
    return trainer.run(job.resume)


@torch.inference_mode()
def language_model_figures(
    model: PreTrainedModel, held_out: HeldOut, collate: WindowCollate, device: torch.device
) -> dict[str, float]:
    """Loss (nats a token over the full softmax), perplexity, bits per character, and the tokens measured.

    Bits per character is the loss times tokens over characters of the raw text: it compares models whose tokenizers
    cut the same text differently. A tokenizer that folds case or leaves words out has less to predict.

    Where the loss is the mean of several, of two directions, which the model gives as `NAME_loss`, each has its
    perplexity beside them as `NAME_perplexity`.
    """
    model.eval().to(device)
    recurrent = "state" in inspect.signature(model.forward).parameters
    totals: dict[str, float] = {"loss": 0.0}
    tokens, state = 0, None
    for batch in _loader(held_out.windows, collate):
        inputs = {key: value.to(device) for key, value in batch.items()}
        extra: dict[str, Any] = {"state": state} if recurrent else {}
        outputs = model(**inputs, **extra)
        state = detached(outputs.get("state"))
        count = (
            int((inputs["targets"] >= 0).sum()) if "targets" in inputs else int((inputs["labels"] >= 0).sum())
        )
        for name in ("loss", *(key for key in outputs if key.endswith("_loss"))):
            totals[name] = totals.get(name, 0.0) + float(outputs[name]) * count
        tokens += count
    losses = {name: total / max(1, tokens) for name, total in totals.items()}
    loss = losses.pop("loss")
    parts = {name.replace("_loss", "_perplexity"): math.exp(min(part, 700)) for name, part in losses.items()}
    bits = loss / math.log(2) * held_out.tokens / max(1, held_out.characters)
    return {
        "tokens": tokens,
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        "bits_per_character": bits,
        **parts,
    }


def next_token_batch(windows: Sequence[Window]) -> dict[str, Tensor]:
    """Windows -> `input_ids` and `targets`, (rows, length) each: the batch of every next-token model."""
    inputs, targets = map(np.stack, zip(*windows, strict=True))
    return {"input_ids": torch.from_numpy(inputs), "targets": torch.from_numpy(targets)}


def _loader(windows: WindowStreams, collate: WindowCollate) -> DataLoader[Any]:
    return DataLoader(windows, batch_size=windows.rows, shuffle=False, collate_fn=collate)  # type: ignore[arg-type]
