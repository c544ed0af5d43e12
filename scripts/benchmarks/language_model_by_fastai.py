"""fastai's AWD-LSTM language model, as its tutorials make and train it, from random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from awd_lstm import Size
from fastai.text.all import (
    AWD_LSTM,
    DataLoaders,
    LMDataLoader,
    LMTensorText,
    awd_lstm_lm_config,
    language_model_learner,
    set_seed,
)
from fastai_steps import Stopwatch, config_of
from torch import Tensor


def train(
    ids: np.ndarray, vocabulary: int, size: Size, *, rows: int, length: int, warmup: int, steps: int
) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Train on one long text: ids (rows, time) -> logits, and seconds of the steps after the warm-up."""
    set_seed(0)
    text = LMTensorText(torch.from_numpy(ids))
    loader = LMDataLoader([text], lens=[len(text)], bs=rows, seq_len=length, shuffle=True, drop_last=True)
    loaders = DataLoaders(loader, loader, device=torch.device("cpu"))
    loaders.vocab = [f"w{number}" for number in range(vocabulary)]
    learner = language_model_learner(
        loaders, AWD_LSTM, config=config_of(awd_lstm_lm_config, size), pretrained=False
    )
    watch = Stopwatch(warmup + steps)
    with learner.no_bar(), learner.no_logging():
        seconds = watch.seconds(lambda: learner.fit_one_cycle(1, cbs=watch), last=steps)
    model = learner.model.eval()

    def logits(inputs: Tensor) -> Tensor:
        model.reset()
        scores: Tensor = model(inputs)[0]
        return scores

    return logits, {"seconds": seconds, "precision": "fp32", "scored": vocabulary}
