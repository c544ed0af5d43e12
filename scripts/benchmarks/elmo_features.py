"""Time the features of a full-sized ELMo: tokens a second, where the time goes, and peak memory, in fp32 and bf16.

The model is the original release's (char-CNN of 2,048 filters, two layers of 4,096 cells, projection 512), its weights
random and in the released format; they go through `nlptl models import` and `nlptl extract-features` as a user's would.
Each precision runs in a process of its own.

usage: python scripts/benchmarks/elmo_features.py --data SENTENCES [--rows 1000] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
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
import torch

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


def write_release(folder: Path) -> None:
    """`options.json` and `weights.hdf5` as released, of random numbers with the spread of trained ones."""
    random = np.random.default_rng(0)
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


def matrix_product_peak(dtype: torch.dtype) -> float:
    """The most GFLOP/s that a square product of 2,048 reaches here."""
    one, other = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        began = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - began)
    return float(2 * 2048**3 / best / 1e9)


def timed(seconds: dict[str, float], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, its time added up under `name`."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name] += time.perf_counter() - began

    return run


def one_run(model: str, data: str, precision: str, output: Path) -> dict[str, Any]:
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
    return {
        "tokens_per_second": report["tokens_per_second"],
        "seconds": report["seconds"],
        "char_cnn_seconds": round(seconds["char_cnn"], 2),
        "lstms_seconds": round(seconds["lstms"], 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }


def sentences(data: str, rows: int, folder: Path) -> Path:
    """The first texts of the data, in a file of their own."""
    from nlptl.data.datasets import Columns, load_rows

    loaded, _ = load_rows(data, columns=Columns(), labels="optional", offline=True)
    file = folder / "sentences.jsonl"
    lines = [json.dumps({"text": loaded[number]["text"]}) for number in range(min(rows, len(loaded)))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def main() -> None:
    """Run every precision `--rounds` times, by turns, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="sentences, already cut into words")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "PRECISION", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, precision, output = options.one
        print(json.dumps(one_run(model, options.data, precision, Path(output))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_release(folder)
        imported = [sys.executable, "-m", "nlptl", "models", "import", "--from", "allennlp", "--quiet"]
        imported += ["--weights", str(folder / "weights.hdf5"), "--options", str(folder / "options.json")]
        subprocess.run([*imported, "--output", str(folder / "elmo")], check=True, stdout=subprocess.DEVNULL)
        (folder / "weights.hdf5").unlink()
        data = sentences(options.data, options.rows, folder)
        runs: dict[str, list[dict[str, Any]]] = {"fp32": [], "bf16": []}
        for _ in range(options.rounds):
            for precision, results in runs.items():
                line = [
                    sys.executable,
                    __file__,
                    "--data",
                    str(data),
                    "--one",
                    str(folder / "elmo"),
                    precision,
                ]
                done = subprocess.run(
                    [*line, str(folder / "features.hdf5")], check=True, capture_output=True, text=True
                )
                results.append(json.loads(done.stdout.splitlines()[-1]))
    figures: dict[str, Any] = {
        precision: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for precision, results in runs.items()
    }
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        figures[precision]["matrix_product_peak_gflops"] = round(matrix_product_peak(dtype))
    figures["threads"], figures["processors"] = torch.get_num_threads(), os.cpu_count()
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
