"""The AWD-LSTM of fastai and of nlptl at one size, and how much its matrix products have to compute."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping

SIZES = {"embedding": 400, "hidden": 1152, "layers": 3}  # fastai's defaults, and nlptl's `base`

Size = Mapping[str, int]


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Widths and layers, for a trial."""
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} by default")


def size(options: argparse.Namespace) -> dict[str, int]:
    """What `add_size_options` has read."""
    return {name: getattr(options, name) for name in SIZES}


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
