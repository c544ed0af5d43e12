"""What a hostile, damaged or foreign file does to the readers: nothing but one clear error."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pickle
import random
import sys
import tracemalloc
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlptl.errors import ModelError
from nlptl.families.restricted_pickle import read_pickled_list, read_tensors

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "parity" / "ulmfit"
SYSTEM = f"{os.system.__module__}.system"  # posix.system, or nt.system
WORDS = ["xxunk", "xxpad", "the", "café", "日本", "😀", ""]
STATE = collections.OrderedDict(weight=torch.arange(8.0).reshape(2, 4), count=torch.tensor(3))


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def save(value: object, path: Path, legacy: bool, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return path


def with_program(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite data.pkl of a zip container."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


def refused(read: Callable[[Path], object], path: Path, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(path)
    assert caught.value.cause == f"refused: it asks to run {name}"
    assert str(path) in str(caught.value)
    assert caught.value.remedy


# --- word lists


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [list, tuple])
def test_word_lists_of_every_protocol(tmp_path: Path, protocol: int, kind: type) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(pickle.dumps(kind(WORDS), protocol))
    assert read_pickled_list(path) == WORDS


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_dictionaries_of_word_to_id_come_in_the_order_of_the_ids(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "stoi.pkl"
    pairs = [(word, i) for i, word in enumerate(WORDS)][::-1]
    for mapping in (dict(pairs), collections.defaultdict(int, pairs), collections.OrderedDict(pairs)):
        path.write_bytes(pickle.dumps(mapping, protocol))
        assert read_pickled_list(path) == WORDS
    path.write_bytes(pickle.dumps({"a": 0, "b": 2}, protocol))
    with pytest.raises(ModelError, match="not 0 to n - 1"):
        read_pickled_list(path)


def test_a_word_list_of_python_2_keeps_its_letters(tmp_path: Path) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(b"\x80\x02]U\x05caf\xc3\xa9a.")
    assert read_pickled_list(path) == ["café"]


def test_the_shared_vocabularies() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared parity fixtures are not here")
    assert read_pickled_list(SHARED / "itos.pkl") == json.loads((SHARED / "itos.json").read_text("utf-8"))
    assert read_pickled_list(SHARED / "itos_fastai07.pkl")[:3] == ["_unk_", "_pad_", "xxbos"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_word_list_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker, path = tmp_path / "ran", tmp_path / "itos.pkl"
    evil = Calls(os.system, f'echo ran > "{marker}"')
    for value in (evil, ["a", evil], {"a": evil}, (evil,)):
        path.write_bytes(pickle.dumps(value, protocol))
        refused(read_pickled_list, path, SYSTEM)
    path.write_bytes(pickle.dumps(["a", Calls(eval, f"open({str(marker)!r}, 'w')")], protocol))
    refused(read_pickled_list, path, "builtins.eval")
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # the file would have run, had it been unpickled


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (
            b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.fromkeys.x\x93.",
            "collections.OrderedDict.fromkeys.x",
        ),
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93(\x8c\x02idtR.", "os.system"),
        (b"cos\nsystem\n(S'id'\ntR.", "os.system"),
        (b"(S'id'\nios\nsystem\n.", "os.system"),
        (b"c__builtin__\nlist\n)R.", "builtins.list"),
        (b"cos\n\x1b[2Jsystem\n)R.", "'os.\\x1b[2Jsystem'"),
    ],
)
def test_every_way_to_name_a_function_is_refused(tmp_path: Path, program: bytes, name: str) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(program)
    refused(read_pickled_list, path, name)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.",  # a text of 2^40 bytes
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a.",  # bytes
        b"\x80\x04\x96" + (2**40).to_bytes(8, "little") + b"a.",  # a bytearray
        b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"].",  # a frame
        b"\x80\x02]r\xff\xff\xff\x7f.",  # slot 2^31 - 1 of the memo
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",  # an integer of 2^31 - 1 bytes
        b"\x80\x02]" + b"\x86" * 5 + b".",  # nothing on the stack
        b"\x80\x02)" + b"\x86" * 90 + b"}0.",
        b"\x82\x01.",  # the extension registry
        b"cbuiltins\nint\n)R.",  # calls what may only be named
        b"ccollections\nOrderedDict\n)Rt.",
        b"\x80\x02\x58\x02\x00\x00\x00os\x93.",
    ],
)
def test_claims_and_nonsense_end_in_an_error_within_little_memory(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(program)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            read_pickled_list(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value", [[], {}, "words", 3, None, ["a", 1], ["a", None], {"a": True}, [["a"]], [b"a"]]
)
def test_anything_but_words_is_an_error(tmp_path: Path, value: object) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(ModelError) as caught:
        read_pickled_list(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("read", [read_pickled_list, read_tensors])
def test_absent_empty_and_garbage_files(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    with pytest.raises(ModelError, match=r"^no such file, in .*file; give"):
        read(path)
    with pytest.raises(ModelError, match=r"^no such file"):
        read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"^the file is empty"):
        read(path)
    for garbage in (
        b"\x00",
        b"PK\x03\x04",
        b"\x89HDF\r\n\x1a\n" + bytes(99),
        b"<html>",
        random.Random(0).randbytes(999),
    ):
        path.write_bytes(garbage)
        with pytest.raises(ModelError, match=r"^damaged, or not a"):
            read(path)


# --- torch checkpoints


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_back_as_they_were(tmp_path: Path, legacy: bool) -> None:
    shared = torch.randn(6, 2)
    state = {
        "half": torch.ones(3, dtype=torch.float16),
        "bfloat16": torch.ones(3, dtype=torch.bfloat16),
        "long": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
        "a": shared,
        "tied": shared,
        "view": shared[2:4].t(),
    }
    loaded = read_tensors(save(state, tmp_path / "m.pth", legacy))
    assert list(loaded) == list(state)
    for key, tensor in state.items():
        torch.testing.assert_close(loaded[key], tensor.detach(), rtol=0, atol=0)
        assert loaded[key].device.type == "cpu"
    module = torch.nn.LSTM(3, 4)  # its state dict is an OrderedDict with attributes
    assert (
        read_tensors(save(module.state_dict(), tmp_path / "m.h5", legacy)).keys()
        == module.state_dict().keys()
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_a_learner_saved_with_its_optimizer_gives_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    class L:  # fastcore's list; its state is a plain dictionary
        def __init__(self, items: list[object]) -> None:
            self.items = items

    L.__module__, L.__qualname__ = "fastcore.foundation", "L"
    module = types.ModuleType("fastcore.foundation")
    module.L = L  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastcore", types.ModuleType("fastcore"))
    monkeypatch.setitem(sys.modules, "fastcore.foundation", module)
    hyper = {"lr": np.float64(1e-3), "mom": 0.9, "eps": np.float32(1e-5)}
    optimizer = {"state": [{"step": 3, "grad_avg": torch.ones(8)}], "hypers": L([hyper])}
    path = save({"model": STATE, "opt": optimizer}, tmp_path / "learner.pth", legacy)
    monkeypatch.undo()
    loaded = read_tensors(path)
    assert loaded.keys() == STATE.keys()
    assert torch.equal(loaded["weight"], STATE["weight"])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path, legacy: bool, protocol: int) -> None:
    marker, path = tmp_path / "ran", tmp_path / "m.pth"
    evil = Calls(os.system, f'echo ran > "{marker}"')
    for value in (evil, {**STATE, "x": evil}, {"model": STATE, "opt": [evil]}):
        refused(read_tensors, save(value, path, legacy, protocol), SYSTEM)
    evil = Calls(eval, f"open({str(marker)!r}, 'w')")
    refused(read_tensors, save({**STATE, "x": evil}, path, legacy, protocol), "builtins.eval")
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the file would have run, had it been unpickled


def test_a_bare_hostile_pickle_named_as_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fwd_wt103.h5"
    path.write_bytes(pickle.dumps(Calls(os.system, "exit 0")))
    refused(read_tensors, path, SYSTEM)
    parts = [pickle.dumps(part, 2) for part in (torch.serialization.MAGIC_NUMBER, 1001)]
    path.write_bytes(
        b"".join(parts) + pickle.dumps(Calls(os.system, "exit 0"))
    )  # in place of the system's facts
    refused(read_tensors, path, SYSTEM)


@pytest.mark.parametrize("legacy", [False, True])
def test_functions_that_torch_allows_but_weights_do_not_need_are_refused(
    tmp_path: Path, legacy: bool
) -> None:
    huge = Calls(bytearray, 2**40)
    refused(read_tensors, save({**STATE, "x": huge}, tmp_path / "m.pth", legacy), "builtins.bytearray")
    whole = save(torch.nn.Linear(2, 2), tmp_path / "model.pth", legacy)
    refused(read_tensors, whole, "torch.nn.modules.linear.Linear")


@pytest.mark.parametrize("legacy", [False, True])
def test_claimed_sizes_are_held_against_the_file(tmp_path: Path, legacy: bool) -> None:
    path = save({"weight": torch.arange(77.0)}, tmp_path / "m.pth", legacy)
    huge = b"\x8a\x06" + (2**40).to_bytes(6, "little")

    def claim(program: bytes) -> bytes:
        assert program.count(b"K\x4d") == 2  # of the storage, and of the tensor
        return program.replace(b"K\x4d", huge)

    if legacy:
        path.write_bytes(claim(path.read_bytes()))
    else:
        with_program(path, claim)
    with pytest.raises(ModelError, match="damaged"):
        read_tensors(path)
    save({"weight": torch.zeros(1).expand(2**40)}, path, legacy)  # a stride of 0
    with pytest.raises(ModelError, match="claims more values than its storage holds"):
        read_tensors(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_is_not_resized_after_it_was_checked(tmp_path: Path, legacy: bool) -> None:
    storage = torch.zeros(1)._typed_storage()

    class Resized:
        def __reduce__(self) -> tuple[object, ...]:
            arguments = (storage, 0, (1,), (1,), False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments, (storage, 0, (2**40,), (0,))

    path = save({"weight": Resized()}, tmp_path / "m.pth", legacy)
    assert torch.load(path, weights_only=True)["weight"].numel() == 2**40  # torch alone lets it pass
    with pytest.raises(ModelError, match="attributes for something that has none"):
        read_tensors(path)


def test_a_compressed_container_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(10_000_000))
    with pytest.raises(ModelError, match="compressed"):
        read_tensors(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_checkpoint_is_an_error_at_every_length(tmp_path: Path, legacy: bool) -> None:
    content = save(STATE, tmp_path / "m.pth", legacy).read_bytes()
    for length in range(1, len(content), max(1, len(content) // 60)):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(ModelError, match="damaged"):
            read_tensors(tmp_path / "cut.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_flipped_byte_gives_tensors_or_one_error(tmp_path: Path, legacy: bool) -> None:
    content = save(STATE, tmp_path / "m.pth", legacy).read_bytes()
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] = generator.randrange(256)
        (tmp_path / "flipped.pth").write_bytes(damaged)
        with contextlib.suppress(ModelError):  # and nothing else
            assert read_tensors(tmp_path / "flipped.pth")


@pytest.mark.parametrize(
    "value", [[torch.ones(1)], {}, {"a": 1}, {"a": {"b": torch.ones(1)}}, {1: torch.ones(1)}]
)
def test_a_checkpoint_without_a_state_dict_is_an_error(tmp_path: Path, value: object) -> None:
    with pytest.raises(ModelError, match=r"no state dict|is not a tensor"):
        read_tensors(save(value, tmp_path / "m.pth", legacy=False))
