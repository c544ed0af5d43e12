"""When the steps of a `Trainer` ended, and its end after so many of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import transformers


class Enough(Exception):
    """The steps to be counted are done."""


class Stopwatch(transformers.TrainerCallback):
    """Notes the time after every step, and ends the run after the last one, before anything is measured or saved.

    Args:
        steps: of the whole run.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.ends = steps, list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.monotonic())
        if len(self.ends) == self.steps:
            raise Enough

    def seconds(self, train: Callable[[], object], last: int) -> float:
        """What the last so many steps of `train` took; the steps before them are the warm-up."""
        with contextlib.suppress(Enough):
            train()
        return self.ends[-1] - self.ends[-1 - last]
