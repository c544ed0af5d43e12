"""Time the features of a full-sized ELMo: tokens a second, where the time goes, and peak memory, in fp32 and bf16.

The model is the original release's (char-CNN of 2,048 filters, two layers of 4,096 cells, projection 512), its weights
random and in the released format; they go through `nlptl models import` and `nlptl extract-features` as a user's would.
The share of the peak is that of the LSTMs alone.

usage: python scripts/benchmarks/elmo_features.py --data SENTENCES [--rows 1000] [--rounds 3] [--output FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

OPTIONS = {
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": 512,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 4096,
        "n_layers": 2,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
        "n_highway": 2,
        "embedding": {"dim": 16},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}


def write_release(place: str) -> None:
    """In a folder `options.json` and `weights.hdf5` as released, of random numbers with the spread of trained ones."""
    folder, random = Path(place), np.random.default_rng(0)
    lstm, cnn = OPTIONS["lstm"], OPTIONS["char_cnn"]
    (folder / "options.json").write_text(json.dumps(OPTIONS), encoding="utf-8")
    with h5py.File(folder / "weights.hdf5", "w") as file:

        def put(name: str, *shape: int) -> None:
            scale = 0.1 if len(shape) == 1 else 1.0 / np.sqrt(np.prod(shape[:-1]))
            file[name] = (random.standard_normal(shape, dtype=np.float32) * scale).astype(np.float32)

        put("char_embed", 261, cnn["embedding"]["dim"])
        for number, (width, filters) in enumerate(cnn["filters"]):
            put(f"CNN/W_cnn_{number}", 1, width, cnn["embedding"]["dim"], filters)
            put(f"CNN/b_cnn_{number}", filters)
        total = sum(filters for _, filters in cnn["filters"])
        for number in range(cnn["n_highway"]):
            for part in ("carry", "transform"):
                put(f"CNN_high_{number}/W_{part}", total, total)
                put(f"CNN_high_{number}/b_{part}", total)
        put("CNN_proj/W_proj", total, lstm["projection_dim"])
        put("CNN_proj/b_proj", lstm["projection_dim"])
        for direction in range(2):
            for layer in range(lstm["n_layers"]):
                cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
                put(f"{cell}/W_0", 2 * lstm["projection_dim"], 4 * lstm["dim"])
                put(f"{cell}/B", 4 * lstm["dim"])
                put(f"{cell}/W_P_0", lstm["dim"], lstm["projection_dim"])


def timed(seconds: dict[str, float], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, its time added up under `name`."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name] += time.perf_counter() - began

    return run


def features(model: str, data: str, precision: str, output: str) -> Figures:
    """`nlptl extract-features` in this process, with the time of its two large parts."""
    import nlptl
    from nlptl.commands.extract_features import extract_features
    from nlptl.commands.invocation import Invocation
    from nlptl.config import ExtractConfig, validated
    from nlptl.nn.char_cnn import CharCnn
    from nlptl.nn.projected_lstm import ProjectedLstm
    from nlptl.training.progress import Reporter

    nlptl.register_families()
    seconds: dict[str, float] = defaultdict(float)
    CharCnn.forward = timed(seconds, "char_cnn", CharCnn.forward)  # type: ignore[method-assign]
    ProjectedLstm.forward = timed(seconds, "lstms", ProjectedLstm.forward)  # type: ignore[method-assign]
    values = {
        "model": model,
        "data": data,
        "output": output,
        "level": "token",
        "layers": "all",
        "precision": precision,
    }
    config = validated(ExtractConfig, {**values, "pretokenized": True, "device": "cpu", "offline": True})
    report = extract_features(config, Invocation(force=True, reporter=Reporter(quiet=True)))
    tokens = report["tokens_per_second"] * report["seconds"]
    return {
        "speed": report["tokens_per_second"],
        "memory": peak_memory(),
        "seconds": report["seconds"],
        "char_cnn seconds": round(seconds["char_cnn"], 2),
        "lstms seconds": round(seconds["lstms"], 2),
        "gflops": tokens * lstm_flops() / seconds["lstms"] / 1e9,
        "precision": precision,
    }


def lstm_flops() -> int:
    """Operations of both directions' matrix products for one token."""
    lstm = OPTIONS["lstm"]
    cell, projected = lstm["dim"], lstm["projection_dim"]
    return int(2 * lstm["n_layers"] * (2 * 4 * cell * 2 * projected + 2 * cell * projected))


def sentences(data: str, rows: int, file: str) -> int:
    """Write the first texts of the data to a file of their own; how many they are."""
    from nlptl.data.datasets import Columns, load_rows

    loaded, _ = load_rows(data, columns=Columns(), labels="optional", offline=True)
    lines = [json.dumps({"text": loaded[number]["text"]}) for number in range(min(rows, len(loaded)))]
    Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def main() -> None:
    """Run every precision `--rounds` times, by turns, and print medians."""
    parser = option_parser(__doc__, rounds=3)
    parser.add_argument("--data", required=True, help="sentences, already cut into words")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--json", dest="output", type=Path, help="the same as --output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, values in (
            (write_release, {"place": name}),
            (
                sentences,
                {"data": options.data, "rows": options.rows, "file": str(folder / "sentences.jsonl")},
            ),
        ):
            found = in_child(task, **values)
            if isinstance(found, dict):
                parser.error(found["failed"])
        imported = [sys.executable, "-m", "nlptl", "models", "import", "--from", "allennlp", "--quiet"]
        imported += ["--weights", str(folder / "weights.hdf5"), "--options", str(folder / "options.json")]
        subprocess.run([*imported, "--output", str(folder / "elmo")], check=True, stdout=subprocess.DEVNULL)
        (folder / "weights.hdf5").unlink()
        values = {"model": "elmo", "data": "sentences.jsonl", "output": "features.hdf5"}
        values = {key: str(folder / file) for key, file in values.items()}
        systems = [System(precision, {"precision": precision}, "fp32") for precision in ("fp32", "bf16")]
        job = Job(f"features of {found} sentences", "tokens a second", features, values, systems)
        compare([job], options)


if __name__ == "__main__":
    main()
