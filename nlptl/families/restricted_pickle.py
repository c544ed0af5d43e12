"""Pickled word lists and torch checkpoints of other systems, read without running anything in them.

Both go through the machine of `pickle_machine`. What passes of a torch file, with every size it claims held
against the bytes that are there, is loaded by `torch.load(weights_only=True)`. `torch.serialization` has two
containers: a zip archive of stored entries and, before torch 1.6, five pickles followed by the storages.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.serialization import MAGIC_NUMBER

from nlptl.errors import ModelError
from nlptl.families.pickle_machine import Inert, Refused, interpret

MOST_PROGRAM_BYTES = 2**26  # of the pickle that lists the tensors, without their numbers


@dataclass(frozen=True)
class _StorageType:
    item_bytes: int


@dataclass(frozen=True)
class _Storage:
    key: str
    item_bytes: int
    length: int  # in items


def _empty_mapping(*default_factory: Inert) -> dict[object, object]:
    return {}


def _check_tensor(storage: _Storage, offset: int, size: tuple[int, ...], *rest: object) -> _Storage:
    # With a stride of 0 a small storage passes for a huge tensor, and its first copy would fill the memory.
    if math.prod(size) > storage.length:
        raise ValueError("a tensor claims more values than its storage holds")
    return storage


def _check_parameter(tensor: _Storage, *rest: object) -> _Storage:
    return tensor


def _check_encoding(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # pickle protocol 2 spells bytes that way; no other codec is needed
        raise ValueError(f"text encoded in {encoding!r}")
    return text.encode("latin1")


_VOCABULARY_NAMES: dict[str, object] = {
    "collections.OrderedDict": _empty_mapping,
    "collections.defaultdict": _empty_mapping,
    "builtins.int": Inert(),  # the default factory of fastai's word-to-id dictionaries; not callable
}

# fastai saves its optimizer beside the weights unless told not to. The learning rates are NumPy scalars in a
# list class of fastcore. torch does not allow these names, so it is handed the same stand-ins.
_OPTIMIZER_NAMES = (
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "fastcore.foundation.L",
)

_ITEM_BYTES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2, "Char": 1}
_TENSOR_NAMES: dict[str, object] = {
    **dict.fromkeys(_OPTIMIZER_NAMES, Inert),
    **{f"torch.{name}Storage": _StorageType(size) for name, size in _ITEM_BYTES.items()},
    "torch.ByteStorage": _StorageType(1),
    "torch.BoolStorage": _StorageType(1),
    "torch._utils._rebuild_tensor": _check_tensor,
    "torch._utils._rebuild_tensor_v2": _check_tensor,
    "torch._utils._rebuild_parameter": _check_parameter,
    "collections.OrderedDict": _empty_mapping,
    "_codecs.encode": _check_encoding,
}


def _claimed_storage(identity: Any) -> _Storage:
    kind, storage_type, key, _, length, *_ = identity
    if kind != "storage" or not isinstance(storage_type, _StorageType) or type(key) is not str or length < 0:
        raise ValueError("a reference to something other than a storage")
    return _Storage(key, storage_type.item_bytes, length)


def _check_zip(path: Path) -> None:
    """Follow `data.pkl` of a zip container; every storage it claims has to be there, stored and whole."""
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        if not stored or sum(sizes.values()) > path.stat().st_size:
            raise ValueError("its entries are compressed")
        folder = next(name for name in sizes).split("/", 1)[0]
        if sizes[f"{folder}/data.pkl"] > MOST_PROGRAM_BYTES:  # a file of holes can be of any size
            raise ValueError("its list of tensors is too long")
        program = archive.read(f"{folder}/data.pkl")

    def storage(identity: Any) -> _Storage:
        claimed = _claimed_storage(identity)
        if claimed.length * claimed.item_bytes > sizes[f"{folder}/data/{claimed.key}"]:
            raise ValueError(f"storage {claimed.key} is not whole")
        return claimed

    interpret(io.BytesIO(program), _TENSOR_NAMES, storage)


def _check_legacy(stream: mmap.mmap) -> None:
    """Follow the older container: pickles of magic number, version, system, data and keys; then storages."""
    if interpret(stream, {}) != MAGIC_NUMBER:
        raise ValueError("not written by torch.save")
    for _ in ("version", "system"):
        interpret(stream, {})
    claims: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        claimed = _claimed_storage(identity)
        if claims.setdefault(claimed.key, claimed) != claimed:
            raise ValueError(f"two sizes are claimed for storage {claimed.key}")
        return claimed

    interpret(stream, _TENSOR_NAMES, storage)
    keys = interpret(stream, {})
    if sorted(keys) != sorted(claims):
        raise ValueError("its list of storages does not match")
    for key in keys:
        if int.from_bytes(stream.read(8), "little") != claims[key].length:
            raise ValueError(f"storage {key} is not as long as it claims")
        stream.seek(claims[key].length * claims[key].item_bytes, os.SEEK_CUR)  # raises beyond the end


def _read(path: Path, what: str, distrust: str, read: Callable[[mmap.mmap], Any]) -> Any:
    """Run a reader over a file; whatever ends it becomes one error; `distrust` is the remedy of a refusal."""
    where = f"in {path}"
    if not path.is_file():
        raise ModelError("no such file", where, f"give the path of {what}")
    if path.stat().st_size == 0:
        raise ModelError("the file is empty", where, "get the file again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return read(stream)
    except Refused as refusal:
        raise ModelError(f"refused: it asks to run {refusal}", where, distrust) from None
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error})", where, "check the file") from error
    except Exception as error:  # arbitrary bytes break a parser in any way, and the file is at fault in all
        detail = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"damaged, or not {what} ({detail})", where, "get the file again") from error


def read_pickled_list(path: str | Path) -> list[str]:
    """Read a pickled list of words, such as fastai's `itos.pkl`, or a dictionary of word to id (0 to n - 1).

    Raises:
        ModelError: the file is absent, empty or damaged, asks to run something, or holds anything but words.
    """
    path = Path(path)
    distrust = "a list of words runs nothing: do not trust this file, and get another, or a .json copy"
    mend = "give the list of words (itos)"
    words = _read(path, "a pickled word list", distrust, lambda stream: interpret(stream, _VOCABULARY_NAMES))
    if isinstance(words, dict):
        ids = list(words.values())
        if any(type(i) is not int for i in ids) or sorted(ids) != list(range(len(ids))):
            raise ModelError("the ids of its words are not 0 to n - 1", f"in {path}", mend)
        words = sorted(words, key=words.__getitem__)
    if not isinstance(words, list | tuple) or not words:
        raise ModelError("it holds no list of words", f"in {path}", mend)
    for position, word in enumerate(words):
        if not isinstance(word, str):
            cause = f"entry {position} is not a word but {type(word).__name__}"
            raise ModelError(cause, f"in {path}", mend)
    return list(words)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a torch checkpoint (`.pth`, `.pt`, fastai 0.7's `.h5`) on the CPU.

    Of a fastai learner's file, `{"model": ..., "opt": ...}`, it is the model's. Tensors of a zip container
    are mapped from the file, which has to stay as it is while they are in use.

    Raises:
        ModelError: the file is absent, empty or damaged, asks to run something, or holds no state dict.
    """
    path = Path(path)

    def load(stream: mmap.mmap) -> Any:
        is_zip = stream[:4] == b"PK\x03\x04"  # torch's own test
        if is_zip:
            _check_zip(path)
        else:
            _check_legacy(stream)
        try:
            with torch.serialization.safe_globals([(Inert, name) for name in _OPTIMIZER_NAMES]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        except pickle.UnpicklingError:  # its text advises to load the file unsafely
            raise ValueError("torch does not read it as weights") from None

    distrust = "weights run nothing: do not trust this file; of a model of your own, save the state_dict()"
    mend = "save the model's state_dict() with torch.save"
    loaded = _read(path, "a torch checkpoint", distrust, load)
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError("it holds no state dict", f"in {path}", mend)
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            cause = f"entry {key!r} is not a tensor but {type(value).__name__}"
            raise ModelError(cause, f"in {path}", mend)
    return dict(loaded)
