"""nlptl's ULMFiT language model as `nlptl pretrain` makes and trains it by the family's recipe."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from awd_lstm import Size, own_sizes
from stopwatch import Stopwatch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import set_seed

from nlptl.commands.plans import given, training_plan
from nlptl.config import PretrainConfig, validated, with_recipe
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.family import UlmfitFamily
from nlptl.families.ulmfit.modeling import UlmfitForCausalLM
from nlptl.nn.softmax import CandidateSampler
from nlptl.training.language_modeling import next_token_batch
from nlptl.training.progress import Reporter
from nlptl.training.trainers import LanguageModelTrainer
from nlptl.training.windows import stream_windows


def train(
    ids: np.ndarray,
    vocabulary: int,
    size: Size,
    *,
    rows: int,
    length: int,
    warmup: int,
    steps: int,
    candidates: int | None = None,
    precision: str = "auto",
) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Train on one long text: ids (rows, time) -> logits, and seconds of the steps after the warm-up.

    Args:
        candidates: of the sampled softmax, 0 for the full one; the recipe's by default.
    """
    values: dict[str, Any] = {"family": "ulmfit", "device": "cpu", "precision": precision, "epochs": 1}
    values |= {} if candidates is None else {"sampled_softmax": candidates}
    config = with_recipe(validated(PretrainConfig, values), UlmfitFamily.recipes["pretrain"])
    drawn, device = given(config.sampled_softmax, "sampled_softmax"), torch.device("cpu")
    set_seed(config.seed)
    model = UlmfitForCausalLM(UlmfitConfig(vocab_size=vocabulary, **own_sizes(size), **config.architecture))
    counts = torch.bincount(torch.from_numpy(ids), minlength=vocabulary)
    UlmfitFamily().prepare_new(model, counts)
    windows = stream_windows(ids, rows, length, backward=False)
    if windows.rows != rows:
        raise ValueError("fewer than four windows a stream, of which nlptl would make fewer streams")
    sampler = CandidateSampler(counts, drawn, config.seed) if drawn else None
    watch = Stopwatch(warmup + steps)
    with tempfile.TemporaryDirectory() as folder:
        plan = training_plan("language model", Path(folder), config, config)
        trainer = LanguageModelTrainer(
            model,
            dataclasses.replace(plan, checkpoint_minutes=math.inf),  # fastai writes none
            DataLoader(windows, batch_size=rows, shuffle=False, collate_fn=next_token_batch),
            evaluate=None,
            save=lambda path: None,
            reporter=Reporter(quiet=True),
            draw_candidates=None if sampler is None else lambda step: sampler.draw(step, device),
            callbacks=[watch],
        )
        seconds = watch.seconds(lambda: trainer.run(resume=False), last=steps)
    model.eval()

    def logits(inputs: Tensor) -> Tensor:
        scores: Tensor = model(inputs).logits
        return scores

    return logits, {"seconds": seconds, "precision": plan.precision, "scored": drawn or vocabulary}
