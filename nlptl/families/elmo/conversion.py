"""The released biLMs (`options.json`, `weights.hdf5` of bilm-tf and AllenNLP) -> our config's keys and state dict.

Every data set of the file is accounted for: a missing, unknown or misshapen one is an error that names it, found
before anything is read. Four things differ from the file:

- gates stand in the order input, candidate, forget, output there, and input, forget, output, candidate here;
- 1 is added to the forget gate's bias whenever the original runs, and is part of our bias;
- our character embedding has a row of zeros before the file's 261;
- matrices are used as `x @ W` there, and a filter's is (1, width, characters' size, filters); our linear layers hold
  theirs transposed.

Source: Peters et al. 2018; bilm-tf for what the options and data sets are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from nlptl.errors import ModelError
from nlptl.families.elmo.configuration import ElmoConfig

CHARACTERS = 261  # rows of the character embedding in the file
MOST_COMPRESSED = 16  # times; weights are noise, of which nothing saves as much
MEND = "give the unchanged files of the release"


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _is_filters(value: object) -> bool:
    pairs = isinstance(value, list) and bool(value)
    return pairs and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_size, pair)) and pair[0] <= 50
        for pair in value  # type: ignore[attr-defined]
    )


@dataclass(frozen=True)
class _Option:
    """A key of `options.json`: what it must be, and the key of our config that takes it, if one does."""

    expected: str
    fits: Callable[[Any], bool]
    ours: str | None = None


_SIZE = ("a positive whole number", _is_size)
_CLIP = ("a positive number", lambda value: type(value) in (int, float) and 0 < value < float("inf"))
_ANYTHING = ("anything", lambda value: True)
_OPTIONS = {
    "lstm": {
        "dim": _Option(*_SIZE, "cell_size"),
        "projection_dim": _Option(*_SIZE, "projection_size"),
        "n_layers": _Option(*_SIZE, "num_layers"),
        "cell_clip": _Option(*_CLIP, "cell_clip"),
        "proj_clip": _Option(*_CLIP, "projection_clip"),
        "use_skip_connections": _Option(
            "true or false", lambda value: type(value) is bool, "skip_connections"
        ),
    },
    "char_cnn": {
        "embedding": _Option(
            'an object with "dim", a positive whole number',
            lambda value: isinstance(value, dict) and set(value) == {"dim"} and _is_size(value["dim"]),
            "character_embedding_size",
        ),
        "filters": _Option(
            "pairs of a width of 1 to 50 and a positive number of filters", _is_filters, "filters"
        ),
        "n_highway": _Option(
            "a whole number from 0", lambda value: type(value) is int and value >= 0, "highway_layers"
        ),
        "activation": _Option('"relu" or "tanh"', lambda value: value in ("relu", "tanh"), "activation"),
        "n_characters": _Option(
            "261 (in training) or 262", lambda value: type(value) is int and value in (261, 262)
        ),
        "max_characters_per_token": _Option("50", lambda value: type(value) is int and value == 50),
    },
}
# What bilm-tf's training adds to the file says nothing about the weights, but that there are two directions.
_TRAINING_OPTIONS = {
    "bidirectional": _Option("true", lambda value: value is True),
    "dropout": _Option(
        "a number from 0 to below 1", lambda value: type(value) in (int, float) and 0 <= value < 1, "dropout"
    ),
    **{
        key: _Option(*_ANYTHING)
        for key in (
            "all_clip_norm_val",
            "batch_size",
            "learning_rate",
            "n_epochs",
            "n_negative_samples_batch",
            "n_tokens_vocab",
            "n_train_tokens",
            "sample_softmax",
            "unroll_steps",
        )
    },
}


def read_options(path: str | Path) -> dict[str, Any]:
    """Read a release's `options.json` as keys of `ElmoConfig`.

    Raises:
        ModelError: the file cannot be read, a key is missing or unknown, or a value is not what it must be.
    """
    where = f"in {path}"
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error})", where, MEND) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not valid JSON ({error})", where, MEND) from error
    if not isinstance(options, dict):
        raise ModelError("it holds no options", where, MEND)
    values: dict[str, Any] = {}
    for section, expected in _OPTIONS.items():
        if not isinstance(options.get(section), dict):
            raise ModelError(f"no section '{section}'", where, MEND)
        values |= _taken(options[section], expected, f"{section}.", where)
        absent = [key for key in expected if key not in options[section]]
        if absent:
            raise ModelError(f"no key '{section}.{absent[0]}'", where, MEND)
    training = {key: value for key, value in options.items() if key not in _OPTIONS}
    values |= _taken(training, _TRAINING_OPTIONS, "", where)
    values["character_embedding_size"] = values["character_embedding_size"]["dim"]
    return values


def _taken(options: dict[str, Any], expected: dict[str, _Option], prefix: str, where: str) -> dict[str, Any]:
    values = {}
    for key, value in options.items():
        if key not in expected:
            remedy = f"the keys there are {', '.join(expected)}"
            raise ModelError(f"unknown key '{prefix}{key}'", where, remedy)
        option = expected[key]
        if not option.fits(value):
            cause = f"'{prefix}{key}' must be {option.expected}, not {json.dumps(value)[:80]}"
            raise ModelError(cause, where, MEND)
        if option.ours is not None:
            values[option.ours] = value
    return values


def convert_weights(path: str | Path, config: ElmoConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Read a release's `weights.hdf5` as the state dict of an `ElmoModel` of this config, in fp32.

    Returns:
        The state dict, and the data sets that it has no use for: none, for all of a release's are used.

    Raises:
        ModelError: the file is damaged or no HDF5 file; a data set is missing, unknown, of another shape than the
            config's, or does not hold finite floating-point numbers; there are links to elsewhere.
    """
    where = f"in {path}"
    try:
        with h5py.File(path, "r") as file:
            data_sets = _checked(file, config, where)
            tensors = {key: torch.from_numpy(item.astype("float32")[()]) for key, item in data_sets.items()}
    except ModelError:
        raise
    # h5py raises a TypeError for a type of data that numpy does not have.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"not a readable HDF5 file ({_first_line(error)})", where, MEND) from error
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(f"'{key}' holds values that are not finite", where, MEND)
    return dict(_renamed(tensors, config)), []


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0][:160] if str(error) else type(error).__name__


def _cell(direction: int, layer: int) -> str:
    return f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def _shapes(config: ElmoConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The data sets of a file, and their shapes."""
    size, projection, cell = config.character_embedding_size, config.projection_size, config.cell_size
    total = sum(count for _, count in config.filters)
    yield "char_embed", (CHARACTERS, size)
    for number, (width, count) in enumerate(config.filters):
        yield f"CNN/W_cnn_{number}", (1, width, size, count)
        yield f"CNN/b_cnn_{number}", (count,)
    for number in range(config.highway_layers):
        for gate in ("carry", "transform"):
            yield f"CNN_high_{number}/W_{gate}", (total, total)
            yield f"CNN_high_{number}/b_{gate}", (total,)
    yield "CNN_proj/W_proj", (total, projection)
    yield "CNN_proj/b_proj", (projection,)
    for direction in (0, 1):
        for layer in range(config.num_layers):
            prefix = _cell(direction, layer)
            yield f"{prefix}/W_0", (2 * projection, 4 * cell)  # rows of the input, then of the state
            yield f"{prefix}/B", (4 * cell,)
            yield f"{prefix}/W_P_0", (cell, projection)


def _checked(file: h5py.File, config: ElmoConfig, where: str) -> dict[str, h5py.Dataset]:
    """The data sets of a file; everything that can be wrong is found before any array is read.

    The file, not the config, bounds the work: a config may promise a billion layers.
    """
    found = dict(_data_sets(file, "", where))
    used = set()
    for key, shape in _shapes(config):
        if key not in found:
            raise ModelError(f"no data set '{key}'", where, "give the options.json that belongs to the file")
        used.add(key)
        item = found[key]
        if item.dtype.kind != "f":
            raise ModelError(f"'{key}' holds {item.dtype}, not floating-point numbers", where, MEND)
        if item.shape != shape:
            cause = f"'{key}' has the shape {item.shape}, expected {shape}"
            raise ModelError(cause, where, "give the options.json that belongs to the file")
        if item.external or item.is_virtual:
            raise ModelError(f"'{key}' keeps its numbers in another file", where, MEND)
        # Room for any size can be promised in a few bytes, and a chunk of zeros be compressed to none.
        if item.nbytes > MOST_COMPRESSED * item.id.get_storage_size():
            raise ModelError(f"the numbers of '{key}' were never written", where, MEND)
    unused = [key for key in found if key not in used]
    if unused:
        cause = f"no place for '{unused[0]}'"
        raise ModelError(cause, where, "give the options.json that belongs to the file")
    return found


def _data_sets(
    group: h5py.Group, prefix: str, where: str, depth: int = 0
) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in group:
        key = f"{prefix}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ModelError(f"'{key}' is a link to elsewhere", where, MEND)
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield key, item
        elif isinstance(item, h5py.Group) and depth < 8:  # a group can hold itself
            yield from _data_sets(item, f"{key}/", where, depth + 1)
        else:
            raise ModelError(f"no place for '{key}'", where, MEND)


def _renamed(tensors: dict[str, Tensor], config: ElmoConfig) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file -> those of our model."""
    table = tensors["char_embed"]
    yield "char_cnn.embedding.weight", torch.cat([table.new_zeros(1, table.shape[1]), table])
    linear = {
        **{f"convolutions.{i}": f"CNN/{{}}_cnn_{i}" for i in range(len(config.filters))},
        **{
            f"highways.{i}.{gate}": f"CNN_high_{i}/{{}}_{gate}"
            for i in range(config.highway_layers)
            for gate in ("carry", "transform")
        },
        "projection": "CNN_proj/{}_proj",
    }
    for ours, theirs in linear.items():
        matrix = tensors[theirs.format("W")]
        yield f"char_cnn.{ours}.weight", matrix.reshape(-1, matrix.shape[-1]).T.contiguous()
        yield f"char_cnn.{ours}.bias", tensors[theirs.format("b")]
    for layer in range(config.num_layers):
        cells = [_cell(direction, layer) for direction in (0, 1)]
        weights = torch.stack([_gates_in_our_order(tensors[f"{cell}/W_0"]) for cell in cells])
        bias = torch.stack([_gates_in_our_order(tensors[f"{cell}/B"]) for cell in cells])
        bias[:, config.cell_size : 2 * config.cell_size] += 1.0
        yield f"layers.{layer}.weight_input", weights[:, : config.projection_size].contiguous()
        yield f"layers.{layer}.weight_hidden", weights[:, config.projection_size :].contiguous()
        yield f"layers.{layer}.bias", bias
        yield (
            f"layers.{layer}.weight_projection",
            torch.stack([tensors[f"{cell}/W_P_0"] for cell in cells]),
        )


def _gates_in_our_order(weights: Tensor) -> Tensor:
    """(..., 4 cell): input, candidate, forget, output -> input, forget, output, candidate."""
    i, candidate, forget, output = weights.chunk(4, dim=-1)
    return torch.cat([i, forget, output, candidate], dim=-1)
