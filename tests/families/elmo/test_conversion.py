"""The release's options and weights in our names; whatever does not fit is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from nlptl.errors import ModelError
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.conversion import convert_weights, read_options
from nlptl.families.elmo.modeling import ElmoModel

OPTIONS: dict[str, Any] = {
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": 3,
        "cell_clip": 3,
        "proj_clip": 2.5,
        "dim": 5,
        "n_layers": 2,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 2], [2, 4]],
        "n_highway": 1,
        "embedding": {"dim": 4},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}
CELL = "RNN_1/RNN/MultiRNNCell/Cell0/LSTMCell"


@pytest.fixture
def write_options(tmp_path: Path) -> Callable[[object], Path]:
    def write(options: object) -> Path:
        path = tmp_path / "options.json"
        path.write_text(json.dumps(options), encoding="utf-8")
        return path

    return write


@pytest.fixture
def config(write_options: Callable[[object], Path]) -> ElmoConfig:
    return ElmoConfig(vocab_size=4, **read_options(write_options(OPTIONS)))


def arrays() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The data sets of a file that fits `OPTIONS`, of different values."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(size=shape).astype(np.float32)

    yield "char_embed", draw(261, 4)
    for number, (width, count) in enumerate(OPTIONS["char_cnn"]["filters"]):
        yield f"CNN/W_cnn_{number}", draw(1, width, 4, count)
        yield f"CNN/b_cnn_{number}", draw(count)
    for gate in ("carry", "transform"):
        yield f"CNN_high_0/W_{gate}", draw(6, 6)
        yield f"CNN_high_0/b_{gate}", draw(6)
    yield "CNN_proj/W_proj", draw(6, 3)
    yield "CNN_proj/b_proj", draw(3)
    for direction in (0, 1):
        for layer in (0, 1):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            yield f"{cell}/W_0", draw(6, 20)
            yield f"{cell}/B", draw(20)
            yield f"{cell}/W_P_0", draw(5, 3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        for key, array in arrays():
            file[key] = array
    return path


# --- options


def test_options_become_keys_of_the_config(write_options: Callable[[object], Path]) -> None:
    assert read_options(write_options(OPTIONS)) == {
        "cell_size": 5,
        "projection_size": 3,
        "num_layers": 2,
        "cell_clip": 3,
        "projection_clip": 2.5,
        "skip_connections": True,
        "character_embedding_size": 4,
        "filters": [[1, 2], [2, 4]],
        "highway_layers": 1,
        "activation": "relu",
    }


def test_what_training_adds_to_the_options_is_known(write_options: Callable[[object], Path]) -> None:
    options = copy.deepcopy(OPTIONS) | {"bidirectional": True, "dropout": 0.2, "n_tokens_vocab": 793471}
    options["char_cnn"]["n_characters"] = 261
    assert read_options(write_options(options)) == read_options(write_options(OPTIONS)) | {"dropout": 0.2}


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("lstm", "dim", "5", r"'lstm.dim' must be a positive whole number, not \"5\""),
        ("lstm", "dim", True, r"'lstm.dim' must be a positive whole number, not true"),
        ("lstm", "projection_dim", 0, r"'lstm.projection_dim' must be a positive whole number"),
        ("lstm", "n_layers", 2.0, r"'lstm.n_layers' must be a positive whole number"),
        ("lstm", "cell_clip", None, r"'lstm.cell_clip' must be a positive number, not null"),
        ("lstm", "proj_clip", float("nan"), r"'lstm.proj_clip' must be a positive number"),
        ("lstm", "use_skip_connections", 1, r"'lstm.use_skip_connections' must be true or false"),
        ("lstm", "n_gates", 4, r"unknown key 'lstm.n_gates'"),
        ("char_cnn", "embedding", 4, r"'char_cnn.embedding' must be an object with"),
        ("char_cnn", "embedding", {"dim": 4, "size": 4}, r"'char_cnn.embedding' must be an object with"),
        ("char_cnn", "filters", [], r"'char_cnn.filters' must be pairs"),
        ("char_cnn", "filters", [[51, 2]], r"'char_cnn.filters' must be pairs"),
        ("char_cnn", "filters", [[1, 2, 3]], r"'char_cnn.filters' must be pairs"),
        ("char_cnn", "n_highway", -1, r"'char_cnn.n_highway' must be a whole number from 0"),
        ("char_cnn", "n_characters", 260, r"'char_cnn.n_characters' must be 261 \(in training\) or 262"),
        ("char_cnn", "max_characters_per_token", 40, r"'char_cnn.max_characters_per_token' must be 50"),
        ("char_cnn", "activation", "selu", r"'char_cnn.activation' must be \"relu\" or \"tanh\""),
        ("char_cnn", "activation", ["relu"], r"'char_cnn.activation' must be \"relu\" or \"tanh\""),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(
    write_options: Callable[[object], Path], section: str, key: str, value: object, message: str
) -> None:
    options = copy.deepcopy(OPTIONS)
    options[section][key] = value
    with pytest.raises(ModelError, match=f"^{message}.*options.json; "):
        read_options(write_options(options))


def test_every_option_is_needed(write_options: Callable[[object], Path]) -> None:
    for section, keys in OPTIONS.items():
        for key in keys:
            options = copy.deepcopy(OPTIONS)
            del options[section][key]
            with pytest.raises(ModelError, match=f"^no key '{section}.{key}', in .*options.json; give"):
                read_options(write_options(options))
        with pytest.raises(ModelError, match=f"^no section '{section}'"):
            read_options(write_options({k: v for k, v in OPTIONS.items() if k != section}))
    with pytest.raises(ModelError, match=r"^unknown key 'gru'"):
        read_options(write_options(OPTIONS | {"gru": {}}))
    with pytest.raises(ModelError, match=r"^'bidirectional' must be true"):
        read_options(write_options(OPTIONS | {"bidirectional": False}))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_options_that_are_no_json_object_are_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "options.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"options\.json; give"):
        read_options(path)
    with pytest.raises(ModelError, match=r"No such file.*absent\.json; give"):
        read_options(tmp_path / "absent.json")


# --- weights


def test_every_weight_finds_its_place(weights: Path, config: ElmoConfig) -> None:
    state_dict, ignored = convert_weights(weights, config)
    theirs = {key: torch.from_numpy(array) for key, array in arrays()}
    assert ignored == []
    shapes = {key: tensor.shape for key, tensor in ElmoModel(config).state_dict().items()}
    assert {key: tensor.shape for key, tensor in state_dict.items()} == shapes
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in state_dict.values())
    table = state_dict["char_cnn.embedding.weight"]
    assert not table[0].any()
    assert torch.equal(table[1:], theirs["char_embed"])
    filters = state_dict["char_cnn.convolutions.1.weight"]
    assert torch.equal(filters[2], theirs["CNN/W_cnn_1"][0, :, :, 2].flatten())
    carry = state_dict["char_cnn.highways.0.carry.weight"]
    assert torch.equal(carry, theirs["CNN_high_0/W_carry"].T)
    bias = state_dict["layers.0.bias"][1]
    i, g, f, o = theirs[f"{CELL}/B"].chunk(4)
    assert torch.equal(bias, torch.cat([i, f + 1, o, g]))
    i, g, f, o = theirs[f"{CELL}/W_0"].chunk(4, dim=1)
    rows = torch.cat([i, f, o, g], dim=1)
    assert torch.equal(state_dict["layers.0.weight_input"][1], rows[:3])
    assert torch.equal(state_dict["layers.0.weight_hidden"][1], rows[3:])
    assert torch.equal(state_dict["layers.0.weight_projection"][1], theirs[f"{CELL}/W_P_0"])


def test_the_release_fits_its_options(released_files: Path) -> None:
    config = ElmoConfig(vocab_size=4, **read_options(released_files / "options.json"))
    state_dict, _ = convert_weights(released_files / "lm_weights.hdf5", config)
    ElmoModel(config).load_state_dict(state_dict)


def remove(file: h5py.File) -> None:
    del file[f"{CELL}/B"]


def add(file: h5py.File) -> None:
    file["softmax/W"] = np.zeros(3, np.float32)


def misshape(file: h5py.File) -> None:
    del file["CNN_proj/W_proj"]
    file["CNN_proj/W_proj"] = np.zeros((6, 4), np.float32)


def grow(file: h5py.File) -> None:
    del file["char_embed"]  # terabytes that are written nowhere, and must not be read
    file.create_dataset("char_embed", (2**40, 4), np.float32, chunks=(1024, 4))


def hold_integers(file: h5py.File) -> None:
    del file["CNN/b_cnn_0"]
    file["CNN/b_cnn_0"] = np.zeros(2, np.int64)


def hold_a_nan(file: h5py.File) -> None:
    file["CNN/b_cnn_1"][2] = float("nan")


def promise_numbers(file: h5py.File) -> None:
    del file["CNN/b_cnn_1"]
    file.create_dataset("CNN/b_cnn_1", (4,), np.float32)


def hold_strings(file: h5py.File) -> None:
    del file["CNN/b_cnn_0"]
    file.create_dataset("CNN/b_cnn_0", (2,), h5py.string_dtype())


def link_outside(file: h5py.File) -> None:
    del file["char_embed"]
    file["char_embed"] = h5py.ExternalLink("other.hdf5", "char_embed")


def link_inside(file: h5py.File) -> None:
    del file["CNN_high_0/b_carry"]
    file["CNN_high_0/b_carry"] = h5py.SoftLink("/CNN_high_0/b_transform")


def store_outside(file: h5py.File) -> None:
    del file["CNN/b_cnn_0"]
    file.create_dataset("CNN/b_cnn_0", (2,), np.float32, external=[("/dev/zero", 0, 8)])


def be_virtual(file: h5py.File) -> None:
    del file["CNN/b_cnn_0"]
    layout = h5py.VirtualLayout((2,), np.float32)
    layout[:] = h5py.VirtualSource("other.hdf5", "b", (2,))
    file.create_virtual_dataset("CNN/b_cnn_0", layout)


def hold_itself(file: h5py.File) -> None:
    file["CNN/CNN"] = file["CNN"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, rf"no data set '{CELL}/B'"),
        (add, r"no place for 'softmax/W'"),
        (misshape, r"'CNN_proj/W_proj' has the shape \(6, 4\), expected \(6, 3\)"),
        (grow, r"'char_embed' has the shape \(1099511627776, 4\), expected \(261, 4\)"),
        (hold_integers, r"'CNN/b_cnn_0' holds int64, not floating-point numbers"),
        (hold_a_nan, r"'CNN/b_cnn_1' holds values that are not finite"),
        (promise_numbers, r"the numbers of 'CNN/b_cnn_1' were never written"),
        (hold_strings, r"'CNN/b_cnn_0' holds object, not floating-point numbers"),
        (link_outside, r"'char_embed' is a link to elsewhere"),
        (link_inside, r"'CNN_high_0/b_carry' is a link to elsewhere"),
        (store_outside, r"'CNN/b_cnn_0' keeps its numbers in another file"),
        (be_virtual, r"'CNN/b_cnn_0' keeps its numbers in another file"),
        (hold_itself, r"no place for 'CNN/CNN/"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_that_names_the_data_set(
    weights: Path, config: ElmoConfig, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(weights, "a") as file:
        change(file)
    with pytest.raises(ModelError, match=f"^{message}.*, in .*weights.hdf5; give"):
        convert_weights(weights, config)


def test_options_of_absurd_sizes_are_refused_at_once(
    weights: Path, write_options: Callable[[object], Path]
) -> None:
    for section, key in (("lstm", "dim"), ("lstm", "n_layers"), ("char_cnn", "n_highway")):
        options = copy.deepcopy(OPTIONS)
        options[section][key] = 10**15
        absurd = ElmoConfig(vocab_size=4, **read_options(write_options(options)))
        with pytest.raises(ModelError, match=r"^('.*' has the shape|no data set)"):
            convert_weights(weights, absurd)


def test_a_damaged_file_is_an_error_of_one_line(weights: Path, config: ElmoConfig, tmp_path: Path) -> None:
    whole = weights.read_bytes()
    damaged = tmp_path / "damaged.hdf5"
    for content in (b"", b"weights", whole[: len(whole) // 2], whole[:-1], b"\0" * len(whole)):
        damaged.write_bytes(content)
        with pytest.raises(ModelError, match=r"^not a readable HDF5 file.*damaged\.hdf5; give") as caught:
            convert_weights(damaged, config)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"absent\.hdf5; give"):
        convert_weights(tmp_path / "absent.hdf5", config)


def test_a_file_with_spoilt_bytes_is_read_or_refused(
    weights: Path, config: ElmoConfig, tmp_path: Path
) -> None:
    whole = weights.read_bytes()
    damaged = tmp_path / "damaged.hdf5"
    random = np.random.default_rng(0)
    for _ in range(100):
        spoilt = bytearray(whole)
        for place in random.integers(0, len(whole), 20):
            spoilt[place] = random.integers(0, 256)
        damaged.write_bytes(spoilt)
        try:
            state_dict, _ = convert_weights(damaged, config)
        except ModelError:
            continue
        ElmoModel(config).load_state_dict(state_dict)


def test_half_and_double_precision_become_float32(weights: Path, config: ElmoConfig) -> None:
    expected, _ = convert_weights(weights, config)
    with h5py.File(weights, "a") as file:
        del file["CNN_proj/b_proj"]
        file["CNN_proj/b_proj"] = expected["char_cnn.projection.bias"].numpy().astype(np.float64)
    state_dict, _ = convert_weights(weights, config)
    assert torch.equal(state_dict["char_cnn.projection.bias"], expected["char_cnn.projection.bias"])
