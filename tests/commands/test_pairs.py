"""A task of two texts a row, and one in which their order means nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Command = Callable[..., CompletedProcess[str]]
ARCHITECTURE = {
    "gpt": {"n_embd": 8, "n_positions": 16},
    "transformer": {"width": 8, "feed_forward_width": 16, "max_positions": 16},
}
COLUMNS = ("--text-column", "first", "--text-pair-column", "second")


def rows(swapped: bool = False) -> str:
    """Questions, of which two are alike or not; some are longer than the context."""
    pairs = [
        (
            f"how do I mend a {thing}" + " please" * (20 * (n % 2)),
            f"mending a {other}",
            "same" if thing == other else "other",
        )
        for n, (thing, other) in enumerate(
            [("bicycle", "bicycle"), ("bicycle", "roof"), ("roof", "roof")] * 8
        )
    ]
    lines = [
        {"first": b if swapped else a, "second": a if swapped else b, "label": label} for a, b, label in pairs
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize("strategy", ["fine-tune", "freeze"])
@pytest.mark.parametrize("family", ARCHITECTURE)
def test_swapping_a_symmetric_pair_leaves_the_answer_as_it_is(
    family: str,
    strategy: str,
    command: Command,
    tiny_language_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    values = {"sampled_softmax": 0} if family == "transformer" else {}
    language_model = tiny_language_model(family=family, architecture=ARCHITECTURE[family], **values)
    for name, swapped in (("pairs", False), ("swapped", True)):
        (tmp_path / f"{name}.jsonl").write_text(rows(swapped), encoding="utf-8")
    answers: dict[bool, list[list[float]]] = {}
    for symmetric in (True, False):
        run = tmp_path / f"run-{symmetric}"
        line: list[Any] = [
            "finetune",
            "--model",
            language_model,
            "--data",
            tmp_path / "pairs.jsonl",
            *COLUMNS,
        ]
        line += ["--strategy", strategy, "-o", run, "--epochs", 1, "--learning-rate", 0.01]
        outcome = command(*line, *(["--pair-symmetric"] if symmetric else []), "--json")
        assert outcome.returncode == 0, outcome.stderr
        config = json.loads((run / "model" / "config.json").read_text())
        assert config["pair_symmetric"] == symmetric
        found = []
        for name in ("pairs", "swapped"):
            told = command("predict", "--model", run, tmp_path / f"{name}.jsonl", *COLUMNS, "--probabilities")
            assert told.returncode == 0, told.stderr
            found.append([json.loads(row)["probabilities"]["same"] for row in told.stdout.splitlines()])
        answers[symmetric] = found
    assert answers[True][0] == pytest.approx(answers[True][1], abs=5e-7)
    assert max(abs(a - b) for a, b in zip(*answers[False], strict=True)) > 2e-6
