"""Tiny files as other systems release them, to import or to damage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

CHARACTERS, WIDTH, PROJECTION, CELL = 4, 6, 3, 5


def fastai_language_model() -> dict[str, torch.Tensor]:
    """A checkpoint of fastai 2, of ten words."""
    tensors = {"0.encoder.weight": torch.zeros(10, 4), "1.decoder.weight": torch.zeros(10, 4)}
    tensors |= {"0.encoder_dp.emb.weight": torch.zeros(10, 4), "1.decoder.bias": torch.zeros(10)}
    for layer, (inputs, hidden) in enumerate([(4, 6), (6, 6), (6, 4)]):
        lstm = f"0.rnns.{layer}."
        tensors[f"{lstm}weight_hh_l0_raw"] = torch.zeros(4 * hidden, hidden)
        tensors[f"{lstm}module.weight_ih_l0"] = torch.zeros(4 * hidden, inputs)
        tensors |= {f"{lstm}module.bias_{kind}_l0": torch.zeros(4 * hidden) for kind in ("ih", "hh")}
    return tensors


def elmo_options(
    lstm: Mapping[str, Any] | None = None, char_cnn: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `options.json` of `elmo_weights`, some values changed; of None, left out."""
    values: dict[str, dict[str, Any]] = {
        "lstm": {
            "dim": CELL,
            "projection_dim": PROJECTION,
            "n_layers": 2,
            "cell_clip": 3,
            "proj_clip": 3,
            "use_skip_connections": True,
        },
        "char_cnn": {
            "embedding": {"dim": CHARACTERS},
            "filters": [[1, 2], [2, 4]],
            "n_highway": 1,
            "activation": "relu",
            "n_characters": 262,
            "max_characters_per_token": 50,
        },
    }
    changes = {"lstm": lstm or {}, "char_cnn": char_cnn or {}}
    return {
        section: {key: value for key, value in {**known, **changes[section]}.items() if value is not None}
        for section, known in values.items()
    }


def elmo_weights(path: Path, layers: int = 2) -> None:
    """A `weights.hdf5` as bilm-tf writes it, of a two-layer biLM with weights drawn at random."""
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "char_embed": (261, CHARACTERS),
        "CNN/W_cnn_0": (1, 1, CHARACTERS, 2),
        "CNN/b_cnn_0": (2,),
        "CNN/W_cnn_1": (1, 2, CHARACTERS, 4),
        "CNN/b_cnn_1": (4,),
        "CNN_high_0/W_carry": (WIDTH, WIDTH),
        "CNN_high_0/b_carry": (WIDTH,),
        "CNN_high_0/W_transform": (WIDTH, WIDTH),
        "CNN_high_0/b_transform": (WIDTH,),
        "CNN_proj/W_proj": (WIDTH, PROJECTION),
        "CNN_proj/b_proj": (PROJECTION,),
    }
    for direction in (0, 1):
        for layer in range(layers):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes[f"{cell}/W_0"] = (2 * PROJECTION, 4 * CELL)
            shapes[f"{cell}/B"] = (4 * CELL,)
            shapes[f"{cell}/W_P_0"] = (CELL, PROJECTION)
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            file[name] = draw.normal(scale=0.3, size=shape).astype("float32")


def elmo_release(folder: Path) -> None:
    """`o.json` and `w.hdf5`, which belong together."""
    (folder / "o.json").write_text(json.dumps(elmo_options()), encoding="utf-8")
    elmo_weights(folder / "w.hdf5")


def word2vec_binary(rows: Mapping[str, list[float]], promised: int | None = None) -> bytes:
    """word2vec's binary format; `promised` rows by its header, which are as many as there are unless given."""
    width = len(next(iter(rows.values())))
    packed = [
        word.encode() + b" " + np.array(row, dtype="<f4").tobytes() + b"\n" for word, row in rows.items()
    ]
    return f"{promised or len(rows)} {width}\n".encode() + b"".join(packed)


def gpt_release(folder: Path, width: int = 4) -> None:
    """OpenAI's ten files of a one-layer GPT of eight tokens, with its vocabulary."""
    one, three, four = width, 3 * width, 4 * width
    layer = [[1, one, three], [three], [1, one, one], [one], [one], [one]]
    layer += [[1, one, four], [four], [1, four, one], [one], [one], [one]]
    shapes = [[6, width], [8, width], *layer]
    numbers = np.random.default_rng(0).normal(size=sum(int(np.prod(shape)) for shape in shapes))
    folder.mkdir(exist_ok=True)
    for number, piece in enumerate(np.array_split(numbers.astype(np.float32), 10)):
        np.save(folder / f"params_{number}.npy", piece)
    (folder / "params_shapes.json").write_text(json.dumps(shapes))
    pieces = ["<unk>", "a", "b", "a</w>", "b</w>", "ab</w>", ".</w>", "\n</w>"]
    (folder / "encoder_bpe_40000.json").write_text(
        json.dumps({piece: row for row, piece in enumerate(pieces)})
    )
    (folder / "vocab_40000.bpe").write_text("#version: 0.2\na b</w>\n")
