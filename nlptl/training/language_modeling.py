"""Training and measuring a language model on windows of text; for any family."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from nlptl.nn.softmax import CandidateSampler
from nlptl.training.models import LayeredModel
from nlptl.training.progress import Reporter
from nlptl.training.trainers import Evaluation, LanguageModelTrainer, TrainingPlan, TrainingResult, detached

Window = tuple[NDArray[np.int64], NDArray[np.int64]]
WindowCollate = Callable[[Sequence[Window]], dict[str, Tensor]]


class WindowStreams(Protocol):
    """Windows of a corpus in order: item i is window i // rows of stream i % rows."""

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


def train_language_model(
    model: LayeredModel,
    windows: WindowStreams,
    held_out: HeldOut,
    plan: TrainingPlan,
    *,
    collate: WindowCollate,
    save: Callable[[Path], None],
    reporter: Reporter,
    resume: bool,
    counts: Tensor | None = None,
    candidates: int = 0,
) -> TrainingResult:
    """Train on `windows`, keep the model that predicts `held_out` best in the run's `model/`.

    Args:
        counts: (vocabulary,), occurrences of each token in the training text; needed for `candidates`.
        candidates: train against so many sampled words; 0 for the full softmax.

    Raises:
        Interrupted, RunFailed: as `RunTrainer.run`.
    """

    def evaluate() -> Evaluation:
        figures = language_model_figures(model, held_out, collate, plan.device)
        return Evaluation(figures, score=(-figures["loss"],))

    sampler = CandidateSampler(counts, candidates) if candidates and counts is not None else None
    trainer = LanguageModelTrainer(
        model,
        plan,
        _loader(windows, collate),
        evaluate=evaluate,
        save=save,
        reporter=reporter,
        draw_candidates=None if sampler is None else lambda: sampler.draw(plan.device),
    )
    return trainer.run(resume)


@torch.inference_mode()
def language_model_figures(
    model: PreTrainedModel, held_out: HeldOut, collate: WindowCollate, device: torch.device
) -> dict[str, float]:
    """Loss (nats a token over the full softmax), perplexity, bits per character, and the tokens measured.

    Bits per character is the loss times tokens over characters of the text: it compares models whose tokenizers
    cut the same text differently.
    """
    model.eval().to(device)
    recurrent = "state" in inspect.signature(model.forward).parameters
    total, tokens, state = 0.0, 0, None
    for batch in _loader(held_out.windows, collate):
        inputs = {key: value.to(device) for key, value in batch.items()}
        extra: dict[str, Any] = {"state": state} if recurrent else {}
        outputs = model(**inputs, **extra)
        state = detached(outputs.get("state"))
        count = (
            int((inputs["targets"] >= 0).sum()) if "targets" in inputs else int((inputs["labels"] >= 0).sum())
        )
        total += float(outputs["loss"]) * count
        tokens += count
    loss = total / max(1, tokens)
    bits = loss / math.log(2) * held_out.tokens / max(1, held_out.characters)
    return {
        "tokens": tokens,
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        "bits_per_character": bits,
    }


def next_token_batch(windows: Sequence[Window]) -> dict[str, Tensor]:
    """Windows -> `input_ids` and `targets`, (rows, length) each: the batch of every next-token model."""
    inputs, targets = zip(*windows, strict=True)
    return {"input_ids": torch.from_numpy(np.stack(inputs)), "targets": torch.from_numpy(np.stack(targets))}


def _loader(windows: WindowStreams, collate: WindowCollate) -> DataLoader[Any]:
    return DataLoader(windows, batch_size=windows.rows, shuffle=False, collate_fn=collate)  # type: ignore[arg-type]
