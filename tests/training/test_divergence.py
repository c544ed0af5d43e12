"""A run whose loss runs away: it stops, says so, and keeps the last good checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from nlptl.cli import main


def test_a_diverged_run_stops_and_keeps_the_last_good_checkpoint(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nlptl", "pretrain", "--family", "ulmfit", "--size", "tiny", "--text", str(text_file)]
    words += ["--vocab-size", "300", "--epochs", "3", "--learning-rate", "1e30", "--set", "schedule=constant"]
    words += ["--set", "checkpoint_minutes=0", "--batch-size", "4", "--bptt", "16", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", [*words, "-o", str(tmp_path / "run")])
    assert main() == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    assert "step" in said
    assert "--learning-rate" in said
    assert "--force" in said
    assert "rate 1e+30" in said
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("checkpoint-*"):
        weights = load_file(checkpoint / "model.safetensors")
        assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
