"""Put a pretrained language model into the package: its weights in half precision and its tokenizer.

The model card, README.md, is written by hand: the one that is there stays.

usage: python scripts/embed_model.py runs/lm ulmfit-mini
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

EMBEDDED = Path(__file__).resolve().parents[1] / "nlptl" / "pretrained" / "embedded"


def embed(run: Path, name: str) -> None:
    """Copy `run / "model"`; `config.json` goes on saying float32, which the weights are turned into when loaded."""
    folder = EMBEDDED / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.name != "README.md":
            file.unlink()
    weights = load_file(run / "model" / "model.safetensors")
    halves = {key: tensor.to(torch.float16) for key, tensor in weights.items()}
    if not all(torch.isfinite(tensor).all() for tensor in halves.values()):
        raise SystemExit("a weight is too large for half precision")
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    if config["dtype"] != "float32":
        raise SystemExit("the run's weights are not float32")
    for file in sorted((run / "model").glob("*.json")):  # the config, and whatever the tokenizer consists of
        shutil.copy(file, folder / file.name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    embed(Path(sys.argv[1]), sys.argv[2])
