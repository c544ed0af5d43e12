"""The AWD-LSTM of fastai and of nlptl at one size, and how much its matrix products have to compute."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

SIZES = {"embedding": 400, "hidden": 1152, "layers": 3}  # fastai's defaults, and nlptl's `base`

Size = Mapping[str, int]


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Widths and layers, for a trial."""
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} by default")


def size(options: argparse.Namespace) -> dict[str, int]:
    """What `add_size_options` has read."""
    return {name: getattr(options, name) for name in SIZES}


def fastai_config(defaults: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """A config of fastai's with these sizes, its dropouts as they are."""
    changes = {"emb_sz": size["embedding"], "n_hid": size["hidden"], "n_layers": size["layers"]}
    return {**defaults, **changes}


def own_sizes(size: Size) -> dict[str, int]:
    """The same as keys of `UlmfitConfig`."""
    return {
        "embedding_size": size["embedding"],
        "hidden_size": size["hidden"],
        "num_layers": size["layers"],
    }


def encoder_flops(size: Size) -> int:
    """Operations of the LSTMs' matrix products for one token, forward; training takes three times as many."""
    widths = [size["embedding"], *[size["hidden"]] * (size["layers"] - 1), size["embedding"]]
    return sum(2 * 4 * after * (before + after) for before, after in itertools.pairwise(widths))


def fastai_stopwatch(steps: int) -> Any:
    """A callback with the time at which each training batch ended, `ends`; the run ends with the last of so many.

    It ends before fastai measures on its validation texts, which is no part of training.
    """
    from fastai.callback.core import Callback, CancelFitException

    class Stopwatch(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def before_train(self) -> None:
            if self.ends:
                self.ends[-1] = time.monotonic()  # what was measured between two passes is not counted

        def after_batch(self) -> None:
            if self.training:
                self.ends.append(time.monotonic())
                if len(self.ends) == steps:
                    raise CancelFitException

        def seconds(self, train: Callable[[], object], last: int) -> float:
            train()
            return self.ends[-1] - self.ends[-1 - last]

    return Stopwatch()
