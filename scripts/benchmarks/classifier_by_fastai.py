"""fastai's text classifier, as its tutorials make and use it, from random weights."""

from __future__ import annotations

import numpy as np
import torch
from awd_lstm import Size
from fastai.text.all import (
    AWD_LSTM,
    CrossEntropyLossFlat,
    DataLoaders,
    Pad_Chunk,
    SortedDL,
    TensorCategory,
    TensorText,
    awd_lstm_clas_config,
    set_seed,
    text_classifier_learner,
)
from fastai_steps import Stopwatch, config_of
from numericalised import CHUNK, PAD, Part

BATCH = 64


class Classifier:
    """The learner, in fp32.

    Args:
        words: rows of the embedding.
        strategy, precision: for the likeness to nlptl's; fastai is told nothing by them.
    """

    precision = trained_in = "fp32"

    def __init__(
        self,
        train: Part,
        validation: Part,
        *,
        classes: int,
        words: int,
        size: Size,
        strategy: str = "fine-tune",
        precision: str = "auto",
    ) -> None:
        set_seed(0)
        parts = (_loader(train, shuffle=True), _loader(validation))
        loaders = DataLoaders(*parts, device=torch.device("cpu"))
        loaders.vocab = [f"w{number}" for number in range(words)]
        self.learner = text_classifier_learner(
            loaders,
            AWD_LSTM,
            config=config_of(awd_lstm_clas_config, size),
            pretrained=False,
            n_out=classes,
            loss_func=CrossEntropyLossFlat(),
        )

    def fine_tune(self, epochs: int) -> tuple[float, int]:
        """Train all layers: seconds of the last pass, and how many texts it reads."""
        batches = self.learner.dls.train
        watch = Stopwatch(epochs * len(batches))
        with self.learner.no_bar(), self.learner.no_logging():
            seconds = watch.seconds(lambda: self.learner.fit_one_cycle(epochs, cbs=watch), last=len(batches))
        return seconds, len(batches) * BATCH if batches.drop_last else len(batches.dataset)

    def freeze(self, epochs: int) -> tuple[float, int]:
        """Train the head alone: seconds of the last pass, and how many texts it reads."""
        self.learner.freeze_to(-1)
        return self.fine_tune(epochs)

    def probabilities(self, part: Part) -> np.ndarray:
        """(texts, classes), in the order of the texts."""
        with self.learner.no_bar(), self.learner.no_logging():
            probabilities, _ = self.learner.get_preds(dl=_loader(part))
        return np.asarray(probabilities)


def _loader(part: Part, *, shuffle: bool = False) -> SortedDL:
    """Texts of similar length together, as its `TextBlock` has it; whole batches only where it is to train."""
    rows = [
        (TensorText(torch.from_numpy(ids)), TensorCategory(int(label)))
        for ids, label in zip(part.ids, part.labels, strict=True)
    ]
    whole = shuffle and len(rows) >= BATCH
    padding = Pad_Chunk(pad_idx=PAD, seq_len=CHUNK)
    return SortedDL(rows, bs=BATCH, shuffle=shuffle, drop_last=whole, before_batch=padding)
