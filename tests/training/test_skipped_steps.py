"""Gradients that are not finite: under mixed precision their step is skipped, and many in a row end the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor, nn

import nlptl
from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.commands.pretrain import pretrain
from nlptl.config import FinetuneConfig, PretrainConfig, validated
from nlptl.errors import RunFailed
from nlptl.training import inference, run_trainer
from nlptl.training.progress import Reporter
from nlptl.training.run_trainer import RunTrainer
from nlptl.training.trainers import ClassifierTrainer, LanguageModelTrainer

MOST = 3  # skipped steps in a row, in these tests
Train = Callable[..., "Run"]


class Run(Reporter):
    """A run's folder, what was said, and the weights that each step began with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(quiet=True)
        self.folder = folder
        self.notes: list[str] = []
        self.weights: list[list[Tensor]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def skipped(self) -> list[str]:
        return [note for note in self.notes if "skipped" in note]

    def moved(self) -> list[bool]:
        """Whether each step but the last has changed any weight."""
        return [
            any(not a.equal(b) for a, b in zip(before, after, strict=True))
            for before, after in zip(self.weights, self.weights[1:], strict=False)
        ]

    def log(self) -> list[dict[str, Any]]:
        """Its lines, which have to be JSON to the letter: NaN is not."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} in log.jsonl")

        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line, parse_constant=refuse) for line in lines]


def spoil(monkeypatch: pytest.MonkeyPatch, trainer: type[RunTrainer], steps: Sequence[int], run: Run) -> None:
    """Make the loss of these steps, from 0, no number."""
    real: Any = trainer.forward

    def forward(self: RunTrainer, model: nn.Module, inputs: dict[str, Any]) -> Any:
        run.weights.append([parameter.detach().clone() for parameter in model.parameters()])
        outputs = real(self, model, inputs)
        if self.state.global_step in steps:
            outputs["loss"] = outputs["loss"] * math.nan
        return outputs

    monkeypatch.setattr(trainer, "forward", forward)
    monkeypatch.setattr(run_trainer, "MOST_SKIPPED_IN_A_ROW", MOST)
    # The CPU compiles a product in bf16 for each new shape, for half a second: here they are done in fp32.
    for module in (run_trainer, inference):
        monkeypatch.setattr(module, "autocast", lambda device, precision: nullcontext())


@pytest.fixture
def train(
    monkeypatch: pytest.MonkeyPatch, language_model_folder: Path, labelled_file: Path, tmp_path: Path
) -> Train:
    """Fine-tunes a classifier, three steps an epoch, some of which are spoilt."""

    def go(spoilt: Sequence[int], **values: Any) -> Run:
        run = Run(tmp_path / "run")
        spoil(monkeypatch, ClassifierTrainer, spoilt, run)
        own = {"model": str(language_model_folder), "data": str(labelled_file), "output": str(run.folder)}
        own |= {
            "lm_tuning": False,
            "batch_size": 12,
            "epochs": 3,
            "gradual_unfreezing": False,
            "log_steps": 1,
        }
        own |= {"device": "cpu", "precision": "bf16", "checkpoint_minutes": 0}
        nlptl.register_families()
        finetune(validated(FinetuneConfig, {**own, **values}), Invocation(reporter=run))
        return run

    return go


def finite(file: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())


def test_a_skipped_step_moves_nothing_and_is_said(train: Train) -> None:
    run = train([1, 4])
    assert run.moved() == [True, False, True, True, False, True, True, True]
    first, second, last = run.skipped()
    assert "step 2 of the classifier" in first
    assert f"1 of at most {MOST} in a row" in first
    assert "step 5 of the classifier" in second
    assert "2 of 9 steps" in last
    assert finite(run.folder / "model" / "model.safetensors")
    steps = [line for line in run.log() if "trained" in line]
    assert [line.get("skipped", 0) for line in steps] == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert ["loss" in line for line in steps] == [True, False, True, True, False, True, True, True, True]


def test_too_many_in_a_row_end_the_run_with_the_step_the_rate_and_the_last_good_checkpoint(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed) as stopped:
        train(range(4, 100))
    said = str(stopped.value)
    assert "\n" not in said
    assert f"in bf16 were not finite {MOST + 1} times in a row" in said
    assert f"step {5 + MOST} of the classifier, rate " in said
    assert "--learning-rate" in said
    assert "--precision fp32" in said
    (kept,) = (tmp_path / "run" / "checkpoints").glob("checkpoint-*")
    assert said.endswith(f"the last good checkpoint is {kept}")
    assert finite(kept / "model.safetensors")


def test_a_good_step_between_them_begins_the_count_anew(train: Train) -> None:
    run = train([0, 1, 2, 4, 5, 6, 8])
    assert "7 of 9 steps" in run.skipped()[-1]


def test_in_full_precision_the_first_one_ends_the_run(train: Train, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="the loss is nan, step 5 of the classifier, rate") as stopped:
        train([4], precision="fp32")
    assert "--precision" not in str(stopped.value)
    (kept,) = (tmp_path / "run" / "checkpoints").glob("checkpoint-*")
    assert str(stopped.value).endswith(f"the last good checkpoint is {kept}")
    assert finite(kept / "model.safetensors")


def test_a_recurrent_state_that_a_skipped_step_left_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, text_file: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    spoil(monkeypatch, LanguageModelTrainer, [2], run)
    spoilt: Any = LanguageModelTrainer.forward

    def forward(self: LanguageModelTrainer, model: nn.Module, inputs: dict[str, Any]) -> Any:
        outputs = spoilt(self, model, inputs)
        if self.state.global_step == 2:  # as the model would leave it
            self.recurrent_state = [
                tuple(part * math.nan for part in layer) for layer in self.recurrent_state
            ]
        return outputs

    monkeypatch.setattr(LanguageModelTrainer, "forward", forward)
    own = {"family": "ulmfit", "size": "tiny", "vocab_size": 300, "epochs": 1, "text": [str(text_file)]}
    own |= {"architecture": {"embedding_size": 8, "hidden_size": 12}, "batch_size": 4, "bptt": 24}
    own |= {"device": "cpu", "precision": "bf16", "max_steps": 6, "log_steps": 1, "output": str(run.folder)}
    nlptl.register_families()
    pretrain(validated(PretrainConfig, own), Invocation(reporter=run))
    assert run.moved() == [True, True, False, True, True]
    assert "1 of 6 steps" in run.skipped()[-1]
