"""By the command line alone: the released files are imported, and their features are those that the originals wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import h5py
import numpy as np
import pytest
import torch

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity" / "elmo"
pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="the originals' numbers are not here")

Command = Callable[..., CompletedProcess[str]]
Extract = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def extract(command: Command, tmp_path: Path) -> Extract:
    """Imports the checkpoint with some options, and extracts all layers of the words of some sentences."""

    def run(options: str, sentences: list[list[str]], *more: Any) -> dict[str, np.ndarray]:
        model, data, output = tmp_path / "elmo", tmp_path / "sentences.jsonl", tmp_path / "features.hdf5"
        weights = PARITY / "lm_weights.hdf5"
        line = ("models", "import", "--from", "allennlp", "--weights", weights, "--options", PARITY / options)
        done = command(*line, "-o", model, "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert {key: report[key] for key in ("output", "family", "ignored_keys")} == {
            "output": str(model),
            "family": "elmo",
            "ignored_keys": [],
        }
        data.write_text("".join(json.dumps({"text": " ".join(words)}) + "\n" for words in sentences))
        line = ("extract-features", "--model", model, "--data", data, "-o", output, "--pretokenized")
        done = command(*line, "--level", "token", "--layers", "all", *more)
        assert done.returncode == 0, done.stderr
        with h5py.File(output) as file:
            return {name: file[name][...] for name in file if name.isdigit()}

    return run


def test_the_features_of_tensorflow_over_ten_steps_of_carried_state(extract: Extract) -> None:
    """Step i of the original's run is the i-th sentence of each of its three lists."""
    lists = json.loads((PARITY / "lm_embeddings_sentences.json").read_text(encoding="utf-8"))
    order = [(number, step) for step in range(10) for number in range(3)]
    sentences = [lists[number][step].split() for number, step in order]
    found = extract("options.json", sentences, "--stateful", "--batch-size", 3)
    assert len(found) == 30
    for row, (number, step) in enumerate(order):
        with h5py.File(PARITY / f"lm_embeddings_{number}.hdf5") as file:
            expected = torch.from_numpy(file[str(step)][...])
        top = torch.from_numpy(found[str(row)][2])
        ours = torch.stack([top[:, :16], top[:, 16:]])
        torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["noskip", "skip"])
def test_all_layers_of_sentences_from_a_fresh_state(kind: str, extract: Extract) -> None:
    """The numbers are AllenNLP's; sentence boundaries are left out, as its command does."""
    sentences = json.loads((PARITY / "sentences_new.json").read_text(encoding="utf-8"))["sentences"]
    found = extract("options_skip.json" if kind == "skip" else "options.json", sentences)
    expected = np.load(PARITY / f"stateless_{kind}.npz")
    for row, words in enumerate(sentences):
        assert found[str(row)].shape == (3, len(words), 32)
        layers = torch.from_numpy(expected["layers"][:, row, : len(words)])
        torch.testing.assert_close(torch.from_numpy(found[str(row)]), layers, atol=1e-5, rtol=1e-5)
