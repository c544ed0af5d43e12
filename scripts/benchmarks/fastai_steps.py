"""What fastai's learners here share: their sizes, and when their training batches ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from awd_lstm import Size
from fastai.callback.core import Callback, CancelFitException


def config_of(defaults: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """A config of fastai's with these sizes, its dropouts as they are."""
    changes = {"emb_sz": size["embedding"], "n_hid": size["hidden"], "n_layers": size["layers"]}
    return {**defaults, **changes}


class Stopwatch(Callback):
    """Notes the time after every training batch, and ends the run after the last one, before anything is measured.

    Args:
        steps: of the whole run.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.ends = steps, list[float]()

    def before_train(self) -> None:
        if self.ends:
            self.ends[-1] = time.monotonic()  # what was measured between two passes is not counted

    def after_batch(self) -> None:
        if self.training:
            self.ends.append(time.monotonic())
            if len(self.ends) == self.steps:
                raise CancelFitException

    def seconds(self, train: Callable[[], object], last: int) -> float:
        """What the last so many steps of `train` took; the steps before them are the warm-up."""
        train()
        return self.ends[-1] - self.ends[-1 - last]
