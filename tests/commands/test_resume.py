"""A run of any family that was stopped or killed, anywhere, and resumed ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nlptl.training.checkpoints as checkpoints
from nlptl.config import FinetuneConfig, PretrainConfig
from nlptl.errors import ConfigError, DataError, Interrupted
from nlptl.families import FAMILIES
from tests.commands.striking import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    Killed,
    go,
    interrupt,
    kill,
    outcome,
    steps,
    stopped_and_resumed,
)


@pytest.mark.parametrize(("strike", "stride"), [(kill, 1), (interrupt, 2)])
def test_pretraining_stopped_at_each_of_its_steps(
    pretraining: Callable[..., PretrainConfig], pretrained: Path, strike: Callable[[], None], stride: int
) -> None:
    """An interrupted run does one step more, at whose end it stops."""
    last = steps(pretrained)[-1]
    places = [(LANGUAGE_MODEL, step) for step in range(1, last, stride)]
    folder = stopped_and_resumed(pretraining(), places, strike)
    assert outcome(folder) == outcome(pretrained)
    assert steps(folder) == list(range(1, last + 1))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"checkpoint-{last}"]


# One more layer group is trained from the classifier's fourth step on, and from its seventh.
@pytest.mark.parametrize(("strike", "of_classifier"), [(kill, [1, 2, 3, 4, 6, 7]), (interrupt, [2, 5, 7])])
def test_finetuning_stopped_in_each_of_its_stages(
    finetuning: Callable[..., FinetuneConfig],
    finetuned: Path,
    strike: Callable[[], None],
    of_classifier: list[int],
) -> None:
    of_language_model = [2, steps(finetuned / "lm")[-1]]  # at its last step a wish to stop must not be lost
    places = [(LANGUAGE_MODEL, step) for step in of_language_model]
    places += [(CLASSIFIER, step) for step in of_classifier]
    folder = stopped_and_resumed(finetuning(), places, strike)
    assert outcome(folder) == outcome(finetuned)
    assert outcome(folder / "lm") == outcome(finetuned / "lm")
    trained = [line["trained"] for line in outcome(folder)[0] if "loss" in line]
    groups = len(trained[0])
    assert [sum(each) for each in trained] == [1] * 3 + [2] * 3 + [min(3, groups)] * 3


def test_rarer_checkpoints_and_kills_between_them(
    pretraining: Callable[..., PretrainConfig], pretrained: Path
) -> None:
    """Steps done since the last checkpoint are done again, and logged once."""
    config = pretraining(checkpoint_minutes=1000.0)
    assert config.output is not None
    with pytest.raises(Interrupted):
        go(config, at=(LANGUAGE_MODEL, 2), strike=interrupt)
    assert checkpoints.last_checkpoint(config.output / "checkpoints") is not None
    with pytest.raises(Killed):
        go(config, resume=True, at=(LANGUAGE_MODEL, steps(pretrained)[-1]))
    go(config, resume=True)
    assert outcome(config.output) == outcome(pretrained)


def test_evaluations_within_an_epoch_and_a_limit_of_steps(
    family: str, pretraining: Callable[..., PretrainConfig]
) -> None:
    limits = {"evaluate_steps": 2 if FAMILIES[family].predicts_tokens else 0, "max_steps": 7}
    reference = pretraining(**limits)
    go(reference)
    folder = stopped_and_resumed(pretraining(**limits), [(LANGUAGE_MODEL, step) for step in (2, 3, 7)], kill)
    assert reference.output is not None
    assert outcome(folder) == outcome(reference.output)
    assert steps(folder) == list(range(1, 8))


@pytest.mark.parametrize("at", ["epoch 1:", "epoch 2:"])
def test_killed_between_an_evaluation_and_its_checkpoint(
    pretraining: Callable[..., PretrainConfig], pretrained: Path, at: str
) -> None:
    assert outcome(stopped_and_resumed(pretraining(), [at], kill)) == outcome(pretrained)


@pytest.mark.parametrize(("name", "time_of_it"), [("checkpoint-3", 1), ("model", 1), ("model", 2)])
def test_killed_while_a_folder_takes_its_place(
    family: str,
    pretraining: Callable[..., PretrainConfig],
    pretrained: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    time_of_it: int,
) -> None:
    """The dead clean nothing up: half-written and retired folders stay, and the next run copes."""
    if time_of_it > 1 and not FAMILIES[family].predicts_tokens:
        pytest.skip("what is never measured is written once, at the end")
    config, times = pretraining(), 0
    assert config.output is not None

    def rename(source: Any, target: Any) -> None:
        nonlocal times
        times += Path(target).name == name
        if Path(target).name == name and times == time_of_it:
            patch.setattr(shutil, "rmtree", lambda *arguments, **options: None)
            raise Killed
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", rename)
        with pytest.raises(Killed):
            go(config)
    assert leftovers(config.output)
    go(config, resume=True)
    assert outcome(config.output) == outcome(pretrained)
    assert not leftovers(config.output)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name.endswith((".partial", ".retired"))]


def test_a_finished_run_resumed_says_the_same_and_changes_nothing(
    pretraining: Callable[..., PretrainConfig], pretrained: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pretrained, copy)
    go(pretraining(output=copy), resume=True)
    assert outcome(copy) == outcome(pretrained)
    reports = [
        json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (copy, pretrained)
    ]
    for key in ("parameters", "train_tokens", "steps", "validation"):
        assert reports[0][key] == reports[1][key]


def test_resuming_what_never_began_begins(
    pretraining: Callable[..., PretrainConfig], pretrained: Path
) -> None:
    config = pretraining()
    go(config, resume=True)
    assert config.output is not None
    assert outcome(config.output) == outcome(pretrained)


def test_changed_text_is_refused(
    pretraining: Callable[..., PretrainConfig], text_file: Path, tmp_path: Path
) -> None:
    text = shutil.copy(text_file, tmp_path)
    config = pretraining(text=[str(text)])
    with pytest.raises(Killed):
        go(config, at=(LANGUAGE_MODEL, 3))
    assert config.output is not None
    before = outcome_of_checkpoint(config.output)
    with open(text, "a", encoding="utf-8") as file:
        file.write("one more line\n")
    with pytest.raises(DataError, match="changed"):
        go(config, resume=True)
    assert outcome_of_checkpoint(config.output) == before


def test_a_changed_option_that_decides_the_result_is_refused(
    pretraining: Callable[..., PretrainConfig],
) -> None:
    config = pretraining()
    with pytest.raises(Killed):
        go(config, at=(LANGUAGE_MODEL, 3))
    with pytest.raises(ConfigError, match=r"learning_rate cannot change .* --force"):
        go(config.model_copy(update={"learning_rate": 0.5}), resume=True)
    assert config.output is not None
    assert "learning_rate: 0.5" not in (config.output / "config.yaml").read_text(encoding="utf-8")
    go(config.model_copy(update={"log_steps": 2, "checkpoint_minutes": 9.0}), resume=True)


def test_changed_labelled_data_is_refused(
    finetuning: Callable[..., FinetuneConfig], labelled_file: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copy(labelled_file, tmp_path))
    config = finetuning(data=str(data), lm_tuning=False)
    with pytest.raises(Killed):
        go(config, at="epoch 1:")
    lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
    data.write_text("".join(lines[:-4]), encoding="utf-8")
    with pytest.raises(DataError, match="changed"):
        go(config, resume=True)


def outcome_of_checkpoint(folder: Path) -> bytes:
    last = checkpoints.last_checkpoint(folder / "checkpoints")
    assert last is not None
    return b"".join(file.read_bytes() for file in sorted(last.glob("*.safetensors")))


@pytest.mark.parametrize("family", ["ulmfit"], indirect=True)
def test_early_stopping_remembers_its_patience(finetuning: Callable[..., FinetuneConfig]) -> None:
    """At a rate too small to move a weight no evaluation is better than the first: two more, and the run is over."""
    still = {"learning_rate": 1e-30, "architecture": {"head": "linear"}, "lm_tuning": False}
    config = finetuning(**still, epochs=9, early_stopping=2)
    assert config.output is not None
    for number, at in enumerate(["epoch 1:", "epoch 2:"]):
        with pytest.raises(Killed):
            go(config, resume=number > 0, at=at)
    assert go(config, resume=True)["epochs"] == 3
    assert go(config, resume=True)["epochs"] == 3


@pytest.mark.parametrize("family", ["ulmfit"], indirect=True)
def test_both_directions(
    finetuning: Callable[..., FinetuneConfig], backward_language_model_folder: Path
) -> None:
    build = {"backward_model": str(backward_language_model_folder), "epochs": 2}
    reference = finetuning(**build)
    go(reference)
    places = [(LANGUAGE_MODEL, 1), (f"backward {LANGUAGE_MODEL}", 2), (CLASSIFIER, 4)]
    folder = stopped_and_resumed(finetuning(**build), places, kill)
    assert reference.output is not None
    for part in (".", "lm", "backward-lm"):
        assert outcome(folder / part) == outcome(reference.output / part)


@pytest.mark.parametrize(
    ("head", "features", "texts", "learning"),
    [
        ("logistic", "features", 40, "logistic regression"),
        ("mlp", "features", 40, "head"),
        ("bilstm-attention", "token features", 36, "head"),
    ],
)
@pytest.mark.parametrize("family", ["elmo"], indirect=True)
def test_a_head_on_frozen_features(
    finetuning: Callable[..., FinetuneConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    head: str,
    features: str,
    texts: int,
    learning: str,
) -> None:
    """Killed while the features are written, and while the head learns."""
    frozen = {"strategy": "freeze", "head": head, "lm_tuning": False}
    reference = finetuning(**frozen)
    go(reference)
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))  # in which there are no features yet
    config = finetuning(**frozen)
    for number, at in enumerate([(features, texts), (learning, 3), "chosen on the validation texts"]):
        with pytest.raises(Killed):
            go(config, resume=number > 0, at=at)
    go(config, resume=True)
    assert config.output is not None
    assert reference.output is not None
    assert weights(config.output) == weights(reference.output)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()
