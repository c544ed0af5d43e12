"""Whether the files of a model folder belong together, found before a weight is read."""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from nlptl.errors import ConfigError, ModelError
from nlptl.families.base import checked_architecture, checked_tokenizer
from nlptl.pretrained.strangers import check_files, check_tokenizer_files

AGAIN = "copy or train the model again"
MOST_HEADER_BYTES = 25_000_000  # that of a model of a thousand layers has a tenth of it
# Bytes of the numbers that a model here is saved in; the whole ones count the batches of a normalisation, or are the
# masks of old native models.
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1}
SPARE_PARAMETERS = 64  # of a model beyond those in its file: tied ones, and those that a file may lack
MOST_MADE_UP = 2**26  # numbers of a model that are in no file because they follow from its config
Shapes = dict[str, tuple[int, ...]]


class _Tensor:
    """An entry of a safetensors header.

    Raises:
        ValueError, TypeError: it is none, or its bytes are not as many as its numbers take.
    """

    def __init__(self, name: str, dtype: str, shape: list[int], data_offsets: list[int]) -> None:
        start, end = data_offsets
        # Their product takes for ever where they are many or have thousands of digits.
        if len(shape) > 8 or any(type(n) is not int or not 0 <= n < 2**63 for n in (*shape, start, end)):
            raise ValueError("sizes are whole numbers, and few")
        if dtype not in ITEM_BYTES or end - start != ITEM_BYTES[dtype] * math.prod(shape):
            raise ValueError("its bytes do not fit its shape")
        self.name, self.shape, self.data_offsets = name, tuple(shape), (start, end)


def read_shapes(file: Path) -> Shapes:
    """The shape of every tensor of a safetensors file, from its header, which must fit the file's length.

    The tensors fill the file one after the other, as the format has it.

    Raises:
        ModelError: cut short or damaged.
    """
    damaged = ModelError("damaged or cut short", str(file), AGAIN)
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise damaged
        (length,) = struct.unpack("<Q", start)
        if length > min(size - 8, MOST_HEADER_BYTES):
            raise damaged
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            tensors = [_Tensor(name, **entry) for name, entry in header.items()]
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise damaged from None
    end = 0
    for tensor in sorted(tensors, key=lambda each: each.data_offsets):
        if tensor.data_offsets[0] != end:
            raise damaged
        end = tensor.data_offsets[1]
    if size != 8 + length + end:
        raise damaged
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    return shapes


def check_model(path: Path, model_class: type[PreTrainedModel], shapes: Shapes) -> PreTrainedConfig:
    """The config must make a model, and the tensors of the file must be the ones that this model has.

    Args:
        shapes: of the tensors in the file.

    Returns:
        The config.

    Raises:
        ModelError: a value of the config is unfit, or a tensor is missing, left over or of another shape.
    """
    config, wanted, tied = _wanted_shapes(path, model_class, {}, most=len(shapes) * 2 + SPARE_PARAMETERS)
    found = _as_loaded(shapes, wanted, tied, model_class)
    may_lack = [re.compile(rule) for rule in model_class._keys_to_ignore_on_load_missing or ()]
    for name in sorted({*wanted, *found}):
        if name not in found and any(rule.search(name) for rule in may_lack):
            continue
        if found.get(name) != wanted.get(name):
            here = f"has the shape {found[name]}" if name in found else "is missing"
            there = f"its config asks for {wanted[name]}" if name in wanted else "its config knows none"
            cause = f"the tensor {name!r} {here} where {there}"
            raise ModelError(cause, str(path), "use a model folder whose files belong together")
    return config


def _as_loaded(
    shapes: Shapes, wanted: Shapes, tied: Mapping[str, str], model_class: type[PreTrainedModel]
) -> Shapes:
    """The shapes by the names that `transformers` finds for them.

    It puts the prefix of the base model before a name that needs it and takes it away where the base model itself is
    loaded; it takes a tied tensor by either name, and leaves out what the class has no use for.
    """
    prefix = f"{model_class.base_model_prefix}."
    renamed: dict[str, str] = getattr(model_class, "key_mapping", {})
    needless = [re.compile(rule) for rule in model_class._keys_to_ignore_on_load_unexpected or ()]
    found: Shapes = {}
    for name, shape in shapes.items():
        for native, ours in renamed.items():
            name = re.sub(native, ours, name)
        known = next((n for n in (name, prefix + name, name.removeprefix(prefix)) if n in wanted), name)
        known = tied.get(known, known)
        if known in wanted or not any(rule.search(name) for rule in needless):
            found[known] = shape
    return found


def check_changes(path: Path, model_class: type[PreTrainedModel], changes: Mapping[str, Any]) -> None:
    """A model that goes on may change its dropouts and its head's keys, but not the shape of what it has learned.

    Raises:
        ConfigError: a key is unknown, its value is unfit, or it changes a shape.
    """
    config_class = model_class.config_class
    assert config_class is not None
    checked_architecture(config_class, changes, config_class.from_pretrained(path))
    _, before, _ = _wanted_shapes(path, model_class, {})
    for key, value in changes.items():
        if _wanted_shapes(path, model_class, {key: value})[1] != before:
            raise ConfigError(
                f"{key} = {value!r} does not fit the weights that are there", "architecture", "leave it out"
            )


def load_tokenizer(path: Path, config: PreTrainedConfig, classes: Collection[str]) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; `config` is that of its model, `classes` are the names of its family's.

    Raises:
        ModelError: its files are cut short or damaged or of another family, or it has tokens that the model does not
            know.
    """
    check_files(path)
    check_tokenizer_files(path, classes)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except ModelError:
        raise
    except Exception as error:  # a damaged file breaks the loaders of several libraries, each in its own way
        cause = f"its tokenizer cannot be read ({_said(error)})"
        raise ModelError(cause, str(path), "copy the tokenizer's files again") from error
    checked_tokenizer(tokenizer, config, path)
    return tokenizer


def check_label_names(config: PreTrainedConfig, path: Path) -> None:
    """Each output of a classifier has a name of its own.

    Raises:
        ModelError: one has none, or two share one.
    """
    names = config.id2label or {}
    numbers = list(range(int(config.num_labels or 0)))
    if sorted(names) != numbers or len(set(names.values())) < max(2, len(numbers)):
        raise ModelError(
            "its id2label does not give each class a number from 0 and a name of its own",
            str(path / "config.json"),
            "copy the model folder again",
        )


def _wanted_shapes(
    path: Path, model_class: type[PreTrainedModel], changes: Mapping[str, Any], most: int | None = None
) -> tuple[PreTrainedConfig, Shapes, dict[str, str]]:
    """The config with changes, the tensors of its model, each tied one once, and what its other names stand for.

    Args:
        most: parameters that the model may have before it is given up; a config may ask for a billion layers.
    """
    config_class = model_class.config_class
    assert config_class is not None
    try:
        config = config_class.from_pretrained(path, **changes)
        with torch.device("meta"), _at_most(most):
            model = model_class(config)
    except Exception as error:  # a config can be wrong in as many ways as it has values
        where = str(path / "config.json")
        raise ModelError(f"its config makes no model ({_said(error)})", where, AGAIN) from error
    tied: dict[str, str] = dict(getattr(model, "all_tied_weights_keys", None) or {})
    return config, {n: tuple(t.shape) for n, t in model.state_dict().items() if n not in tied}, tied


@contextmanager
def _at_most(most: int | None) -> Iterator[None]:
    """Modules that are built within have so many parameters between them, and few numbers that no file holds."""
    left, made_up = most or sys.maxsize, 0

    def parameter(module: nn.Module, name: str, value: object) -> None:
        nonlocal left
        left -= value is not None
        if left < 0:
            raise ValueError("it asks for far more tensors than its weights have")

    def buffer(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal made_up
        made_up += 0 if value is None else value.numel()
        if made_up > MOST_MADE_UP:
            raise ValueError(f"it asks for more than {MOST_MADE_UP:,} numbers that follow from it")

    hooks = (
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(buffer),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _said(error: Exception) -> str:
    """The last line of an error's text, which is where nested ones end up."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().removeprefix("TypeError: ").rstrip(".")[:160]
