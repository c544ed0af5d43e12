"""The same seed, config and versions give the same weights, byte for byte, in whatever process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlptl.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "fixtures" / "format-1"
STRATEGIES = ("fine-tune", "freeze")
# Trains a classifier of each family by each strategy as the command line does, and prints the hashes of its weights.
TRAIN = """
import hashlib, json, sys
from pathlib import Path

import torch

import nlptl
from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.config import FinetuneConfig, validated
from nlptl.families import FAMILIES
from nlptl.training.progress import Reporter

models, data, place = sys.argv[1:]
torch.set_num_threads(1)
nlptl.register_families()
hashes = {}
for family in FAMILIES:
    for strategy in ("fine-tune", "freeze"):
        run = Path(place) / family / strategy
        config = {"model": f"{models}/{family}/language-model", "data": data, "output": str(run), "seed": 7}
        config |= {"strategy": strategy, "device": "cpu", "precision": "fp32", "epochs": 2, "batch_size": 12}
        if strategy == "fine-tune":
            config["lm"] = {"epochs": 1, "batch_size": 16}
        finetune(validated(FinetuneConfig, config), Invocation(reporter=Reporter(True)))
        weights = sorted(run.rglob("model.safetensors"))
        hashes[f"{family} {strategy}"] = [
            (str(file.relative_to(run)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in weights
        ]
print(json.dumps(hashes))
"""


@pytest.fixture(scope="module")
def two_runs(
    labelled_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, list[tuple[str, str]]]]:
    """Hashes by family and strategy, from two processes that begin at once and hash strings differently."""
    place = tmp_path_factory.mktemp("sameness")
    running = []
    for number in (1, 2):
        words = [sys.executable, "-c", TRAIN, str(MODELS), str(labelled_file), str(place / str(number))]
        own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen(words, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    said = [process.communicate() for process in running]
    for process, (_, errors) in zip(running, said, strict=True):
        assert process.returncode == 0, errors.decode()
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_seed_gives_the_same_weights_in_two_processes(
    family: str, strategy: str, two_runs: list[dict[str, list[tuple[str, str]]]]
) -> None:
    first, second = (run[f"{family} {strategy}"] for run in two_runs)
    assert [file for file, _ in first if not file.startswith(("lm/", "checkp"))] == [
        "model/model.safetensors"
    ]
    assert first == second
