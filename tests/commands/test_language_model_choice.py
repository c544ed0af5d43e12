"""A forward and a backward language model go together only over one vocabulary that both can show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file

from nlptl.commands.language_model_choice import chosen_language_models
from nlptl.config import FinetuneConfig
from nlptl.errors import ModelError

Change = Callable[[Path], object]
Command = Callable[..., CompletedProcess[str]]


def chosen(pair: tuple[Path, Path], change: Change, also_forward: bool) -> int:
    for folder in pair if also_forward else pair[1:]:
        change(folder)
    return len(chosen_language_models(FinetuneConfig(model=str(pair[0]), backward_model=str(pair[1]))))


@pytest.fixture
def pair(
    language_model_folder: Path, backward_language_model_folder: Path, tmp_path: Path
) -> tuple[Path, Path]:
    """Copies of a forward and a backward model."""
    folders = {"forward": language_model_folder, "backward": backward_language_model_folder}
    forward, backward = (
        shutil.copytree(folder / "model", tmp_path / name) for name, folder in folders.items()
    )
    return forward, backward


def test_a_pair_over_one_vocabulary_is_taken(pair: tuple[Path, Path]) -> None:
    assert chosen(pair, lambda folder: None, also_forward=True) == 2


def test_two_models_without_a_vocabulary_are_no_pair(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="no file of its tokenizer's vocabulary"):
        chosen(pair, lambda folder: (folder / "tokenizer.json").unlink(), also_forward=True)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "spiece.model"])
def test_every_file_of_the_vocabulary_counts(name: str, pair: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="its tokenizer is not that of the forward model"):
        chosen(pair, lambda folder: (folder / name).write_text("{}", encoding="utf-8"), also_forward=False)


def test_a_backward_companion_can_start_from_the_forward_model(
    language_model_folder: Path, text_file: Path, command: Command, tmp_path: Path
) -> None:
    line = (
        "pretrain",
        "--model",
        language_model_folder,
        "--backward",
        "--text",
        text_file,
        "--device",
        "cpu",
    )
    few = ("--max-steps", 1, "--batch-size", 4, "--bptt", 16, "--learning-rate", 1e-6, "--precision", "fp32")
    outcome = command(*line, *few, "-o", tmp_path / "turned")
    assert outcome.returncode == 0, outcome.stderr
    forward, turned = (
        load_file(folder / "model" / "model.safetensors")
        for folder in (language_model_folder, tmp_path / "turned")
    )
    for name, weight in forward.items():
        torch.testing.assert_close(turned[name], weight, rtol=0, atol=1e-4)
    assert chosen((language_model_folder, tmp_path / "turned"), lambda folder: None, also_forward=False) == 2
