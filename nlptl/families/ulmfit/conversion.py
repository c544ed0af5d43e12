"""fastai's ULMFiT checkpoints -> our state dicts, and its vocabularies -> ours.

Every tensor of a checkpoint is accounted for: a missing, unknown or misshapen one is an error that names it.
Sizes come from the tensors alone (the paper's files have 1,150 hidden units, fastai 2's have 1,152). LSTM
gates are in torch's order on both sides, so that nothing is rearranged. Three layouts differ in their keys:

- "fastai 0.7" (the paper's `fwd_wt103.h5`): `rnns.N.module.weight_hh_l0_raw`, and a decoder without a bias;
- "fastai 1": beside `rnns.N.weight_hh_l0_raw` a stale `rnns.N.module.weight_hh_l0`, which is what weight drop
  left of it in some training step;
- "fastai 2": `rnns.N.weight_hh_l0_raw` alone.

Sources: Howard and Ruder 2018, section 3; AWD-LSTM, `PoolingLinearClassifier` and `match_embeds` of fastai.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nlptl.errors import ModelError
from nlptl.families.restricted_pickle import read_pickled_list

_ANY = -1  # a size that is read from the tensor
_FILLER = "xxfake"  # what fastai fills a vocabulary with, up to a multiple of eight

_EMBEDDING_COPIES = ("encoder_dp.emb.weight", "encoder_with_dropout.embed.weight")
_STALE_WEIGHT = "module.weight_hh_l0"
_LAYER_KEYS = {  # ours: fastai's
    "weight_ih_l0": "module.weight_ih_l0",
    "weight_hh_l0": "weight_hh_l0_raw",
    "bias_ih_l0": "module.bias_ih_l0",
    "bias_hh_l0": "module.bias_hh_l0",
}
_LAYER_KEYS_07 = _LAYER_KEYS | {"weight_hh_l0": "module.weight_hh_l0_raw"}

# `0.0`, `0.2`, `1.0`, ... in fastai 2 and `0`, `2`, `4`, ... in fastai 1: places in an nn.Sequential, where a
# dropout of 0 takes none; `0.bn`, `0.lin`, ... in fastai 0.7.
_HEAD_KEY = re.compile(r"1\.layers\.((?:\d+\.)?(?:\d+|bn|lin))\.(\w+)")


@dataclass(frozen=True)
class FastaiCheckpoint:
    """A converted checkpoint.

    Attributes:
        architecture: `vocab_size`, `embedding_size`, `hidden_size`, `num_layers`; of a language model also
            `tie_word_embeddings`, `decoder_bias`; of a classifier `head_hidden_sizes`, `num_labels` and
            `head_bias`.
        state_dict: tensors by our names, float32. A tied `lm_head.weight` is left out; an absent bias of the
            decoder is filled in as zeros.
        ignored_keys: keys of stale weights, which are not in `state_dict` in any form.
        layout: "fastai 2", "fastai 1" or "fastai 0.7".
    """

    architecture: dict[str, Any]
    state_dict: dict[str, Tensor]
    ignored_keys: list[str]
    layout: str


class _Source:
    """The tensors of a checkpoint that are not yet accounted for."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.left, self.where, self.keys = dict(tensors), where, list(tensors)
        for key in self.left:
            if key.endswith(("_reverse", "_reverse_raw")):
                remedy = "give a forward and a backward language model, each of one direction"
                raise ModelError(f"bidirectional layers ({key!r}) are not supported", where, remedy)
            if "rnns." in key and ".linear." in key:
                raise ModelError(f"QRNN layers ({key!r}) are not supported", where, "give an AWD-LSTM model")

    def shape(self, key: str, dimensions: int) -> torch.Size:
        if key not in self.left:
            raise ModelError(f"no tensor {key!r}", self.where, f"it has {_some(self.keys)}")
        shape = self.left[key].shape
        if len(shape) != dimensions:
            cause = f"tensor {key!r} has the shape {tuple(shape)}, expected {dimensions} dimensions"
            raise ModelError(cause, self.where, "give an unchanged checkpoint of fastai")
        return shape

    def take(self, key: str, *expected: int, dtype: torch.dtype = torch.float32) -> Tensor:
        shape = self.shape(key, len(expected))
        if any(size not in (_ANY, found) for size, found in zip(expected, shape, strict=True)):
            sizes = tuple("any" if size == _ANY else size for size in expected)
            cause = f"tensor {key!r} has the shape {tuple(shape)}, expected {sizes}"
            raise ModelError(cause, self.where, "give an unchanged checkpoint of fastai")
        return self.left.pop(key).detach().to(dtype)

    def finish(self) -> None:
        if self.left:
            raise ModelError(
                f"no place for {_some(list(self.left))}", self.where, "give an unchanged checkpoint of fastai"
            )


def _some(keys: list[str]) -> str:
    return ", ".join(map(repr, keys[:4])) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def checkpoint_kind(tensors: Mapping[str, Tensor]) -> Literal["language model", "encoder", "classifier"]:
    """Which of the three converters takes the checkpoint, by the prefixes of its keys."""
    if any(key.startswith("1.layers.") for key in tensors):
        return "classifier"
    return "language model" if any(key.startswith("0.") for key in tensors) else "encoder"


def convert_encoder(tensors: Mapping[str, Tensor], where: str) -> FastaiCheckpoint:
    """Convert what `save_encoder` writes; our names are those of the bare encoder, without `encoder.`.

    Args:
        tensors: fastai's state dict.
        where: the place that errors name, such as "in lm_encoder.pth".

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape; QRNN or bidirectional layers.
    """
    source = _Source(tensors, where)
    checkpoint = _take_encoder(source, prefix="")
    source.finish()
    return checkpoint


def convert_language_model(tensors: Mapping[str, Tensor], where: str) -> FastaiCheckpoint:
    """Convert a language model, such as `lstm_fwd.pth`; arguments and errors as of `convert_encoder`."""
    source = _Source(tensors, where)
    encoder = _take_encoder(source, prefix="0.")
    state_dict = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict.items()}
    embedding = encoder.state_dict["embedding.weight"]
    decoder = source.take("1.decoder.weight", *embedding.shape)
    tied = torch.equal(decoder, embedding)
    if not tied:
        state_dict["lm_head.weight"] = decoder
    has_bias = "1.decoder.bias" in source.left
    # No bias computes what a bias of zeros does.
    bias = source.take("1.decoder.bias", len(embedding)) if has_bias else embedding.new_zeros(len(embedding))
    state_dict["lm_head.bias"] = bias
    source.finish()
    architecture = encoder.architecture | {"tie_word_embeddings": tied, "decoder_bias": has_bias}
    return FastaiCheckpoint(architecture, state_dict, encoder.ignored_keys, encoder.layout)


def convert_classifier(tensors: Mapping[str, Tensor], where: str) -> FastaiCheckpoint:
    """Convert a text classifier with its pooling head; arguments and errors as of `convert_encoder`."""
    source = _Source(tensors, where)
    encoder = _take_encoder(source, prefix="0." if "0.encoder.weight" in tensors else "0.module.")
    state_dict = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict.items()}
    modules: dict[str, set[str]] = {}
    for key in source.left:
        if match := _HEAD_KEY.fullmatch(key):
            modules.setdefault(match[1], set()).add(match[2])
    paths = sorted(modules, key=_position)
    norms = [f"1.layers.{path}" for path in paths if "running_mean" in modules[path]]
    linears = [f"1.layers.{path}" for path in paths if "running_mean" not in modules[path]]
    width = 3 * encoder.architecture["embedding_size"]  # the last, the maximal and the mean state
    widths = []
    has_bias = bool(linears) and f"{linears[0]}.bias" in source.left
    for i, (norm, linear) in enumerate(zip(norms, linears, strict=False)):
        block = f"head.blocks.{i}"
        for name in ("weight", "bias", "running_mean", "running_var"):
            state_dict[f"{block}.norm.{name}"] = source.take(f"{norm}.{name}", width)
        # torch 0.3 did not count batches; 0 is what torch itself puts in its place.
        counter = f"{norm}.num_batches_tracked"
        count = source.take(counter, dtype=torch.int64) if counter in source.left else torch.tensor(0)
        state_dict[f"{block}.norm.num_batches_tracked"] = count
        state_dict[f"{block}.linear.weight"] = source.take(f"{linear}.weight", _ANY, width)
        width = len(state_dict[f"{block}.linear.weight"])
        if has_bias:
            state_dict[f"{block}.linear.bias"] = source.take(f"{linear}.bias", width)
        widths.append(width)
    source.finish()
    if not widths:
        raise ModelError(
            "no head of a classifier ('1.layers.…')", where, "give a checkpoint of a text classifier"
        )
    head = {"head_hidden_sizes": widths[:-1], "num_labels": widths[-1], "head_bias": has_bias}
    return FastaiCheckpoint(encoder.architecture | head, state_dict, encoder.ignored_keys, encoder.layout)


def _position(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in path.split(".")]


def _take_encoder(source: _Source, prefix: str) -> FastaiCheckpoint:
    is_07 = any(key.endswith("module.weight_hh_l0_raw") for key in source.left)
    is_1 = not is_07 and any(key.endswith(_STALE_WEIGHT) for key in source.left)
    layout = "fastai 0.7" if is_07 else "fastai 1" if is_1 else "fastai 2"
    keys = _LAYER_KEYS_07 if is_07 else _LAYER_KEYS

    embedding = source.take(f"{prefix}encoder.weight", _ANY, _ANY)
    vocab_size, embedding_size = embedding.shape
    for copy in (f"{prefix}{name}" for name in _EMBEDDING_COPIES):
        if copy in source.left and not torch.equal(source.take(copy, vocab_size, embedding_size), embedding):
            cause = f"tensor {copy!r} differs from {f'{prefix}encoder.weight'!r}, of which it is a copy"
            raise ModelError(cause, source.where, "give an unchanged checkpoint of fastai")

    layer_key = re.compile(rf"{re.escape(prefix)}rnns\.(\d+)\.")
    num_layers = len({match[1] for key in source.left if (match := layer_key.match(key))}) or 1
    # The last layer has as many units as the embedding, for the decoder's weights are the embedding's.
    hidden_size = source.shape(f"{prefix}rnns.0.{keys['weight_hh_l0']}", 2)[1]
    state_dict, ignored, width = {"embedding.weight": embedding}, [], embedding_size
    for i in range(num_layers):
        units = embedding_size if i == num_layers - 1 else hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih_l0": (4 * units, width),
            "weight_hh_l0": (4 * units, units),
            "bias_ih_l0": (4 * units,),
            "bias_hh_l0": (4 * units,),
        }
        for name, shape in shapes.items():
            state_dict[f"layers.{i}.{name}"] = source.take(f"{prefix}rnns.{i}.{keys[name]}", *shape)
        if source.left.pop(f"{prefix}rnns.{i}.{_STALE_WEIGHT}", None) is not None:
            ignored.append(f"{prefix}rnns.{i}.{_STALE_WEIGHT}")
        width = units
    architecture = {
        "vocab_size": vocab_size,
        "embedding_size": embedding_size,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
    }
    return FastaiCheckpoint(architecture, state_dict, ignored, layout)


def read_vocabulary(path: str | Path) -> list[str]:
    """Read a vocabulary (itos), one word an id, from a `.pkl` or a `.json` list.

    Raises:
        ModelError: the file is absent or damaged, has another suffix, or holds anything but words.
    """
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle"):
        return read_pickled_list(path)
    mend = "give fastai's itos as .pkl, or as a .json list of words"
    if path.suffix.lower() != ".json":
        raise ModelError(f"a vocabulary ends in .pkl or .json, not {path.suffix!r}", f"in {path}", mend)
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error})", f"in {path}", mend) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not valid JSON ({error})", f"in {path}", mend) from error
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ModelError("it holds no list of words", f"in {path}", mend)
    return words


def check_vocabulary(vocabulary: Sequence[str], embedding: Tensor, where: str | None = None) -> None:
    """Raise a ModelError unless there is a word for each row of the embedding (V, E)."""
    if len(vocabulary) != len(embedding):
        cause = f"the vocabulary has {len(vocabulary)} words, the embedding {len(embedding)} rows"
        raise ModelError(cause, where, "give the vocabulary (itos) that this checkpoint was trained with")


def map_vocabulary(
    embedding: Tensor, bias: Tensor | None, old: Sequence[str], new: Sequence[str]
) -> tuple[Tensor, Tensor | None, float, list[str]]:
    """Rearrange the rows of a language model for another vocabulary (fastai's `match_embeds`).

    A word that the old vocabulary lacks takes the mean row and the mean bias. The filler word `xxfake` stands
    for no text: it takes the mean too, and counts neither as covered nor as missing.

    Args:
        embedding: (V_old, E). bias: (V_old,) of the decoder, where it has one.
        old: the word of each row; of a word that is there twice the last row counts. new: the words wanted.

    Returns:
        The embedding (V_new, E), the bias (V_new,) or None, the part of the new words that is covered (0 to
        1), and the missing words in their order.

    Raises:
        ModelError: the old vocabulary does not fit the embedding, or the new one holds no words.
    """
    check_vocabulary(old, embedding)
    words = [word for word in new if word != _FILLER]
    if not words:
        raise ModelError("the new vocabulary holds no words", remedy="give more text to build it from")
    rows = {word: row for row, word in enumerate(old) if word != _FILLER}
    index = torch.tensor([rows.get(word, len(old)) for word in new])
    missing = [word for word in words if word not in rows]

    def rearranged(values: Tensor) -> Tensor:
        return torch.cat([values, values.mean(0, keepdim=True)])[index]  # the mean stands one past the end

    coverage = 1 - len(missing) / len(words)
    return rearranged(embedding), None if bias is None else rearranged(bias), coverage, missing
