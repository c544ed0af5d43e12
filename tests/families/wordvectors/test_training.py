"""Skip-gram by gensim: what it learns, and that a run ends with the same bytes however often it was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlptl.errors import ConfigError, DataError, Interrupted, ModelError
from nlptl.families.wordvectors.family import WordVectorsFamily
from nlptl.families.wordvectors.modeling import WordVectorsModel
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer
from nlptl.families.wordvectors.training import train_word_vectors
from nlptl.training.language_modeling import LanguageModelJob
from nlptl.training.progress import Reporter
from tests.families.wordvectors.conftest import TOPICS

Build = Callable[..., LanguageModelJob]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gensim") is None, reason="gensim trains the vectors"
)
STEPS = 8


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run's own handles it."""


class Striking(Reporter):
    """Strikes when a step is done, or when a note has certain words in it."""

    def __init__(self, at: int | str, strike: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self.at, self.strike = at, strike

    def advance(self, done: int, figures: str, seconds_left: float | None = None) -> None:
        if done == self.at:
            self.strike()

    def note(self, text: str) -> None:
        if isinstance(self.at, str) and self.at in text:
            self.strike()


def kill() -> None:
    raise Killed


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def outcome(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The log without its speeds, and the hash of the weights."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line.pop("tokens_per_second")
    return lines, hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def whole(job: Build, tmp_path: Path) -> Path:
    """A run that nothing disturbed."""
    train_word_vectors(job(tmp_path / "whole"))
    return tmp_path / "whole"


def test_words_of_one_topic_end_up_near_each_other(
    job: Build, tokenizer: WordVectorsTokenizer, tmp_path: Path
) -> None:
    result = train_word_vectors(job(tmp_path / "run", epochs=30))
    assert (result.steps, result.epochs, result.best_step) == (120, 30.0, 120)
    model = WordVectorsModel.from_pretrained(tmp_path / "run" / "model")
    vectors = torch.nn.functional.normalize(model.embedding.weight.detach(), dim=1)
    cook, sail = (vectors[tokenizer.convert_tokens_to_ids(list(words))] for words in TOPICS)
    assert (cook @ cook.T).min() > (cook @ sail.T).max()
    losses = [line["loss"] for line in outcome(tmp_path / "run")[0]]
    assert losses[-1] < 0.9 * losses[0]


def test_what_is_logged(whole: Path, job: Build) -> None:
    lines, _ = outcome(whole)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in lines] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    rates = [line["learning_rates"][0] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.05 * 1e-4)


def test_all_of_the_text_is_trained_on_and_ends_of_texts_are_no_words(
    job: Build, texts: list[str], tokenizer: WordVectorsTokenizer, tmp_path: Path
) -> None:
    result = train_word_vectors(job(tmp_path / "run"))
    assert result.tokens == 2 * sum(len(tokenizer(text)["input_ids"]) for text in texts)
    model = WordVectorsModel.from_pretrained(tmp_path / "run" / "model")
    assert not model.embedding.weight[[0, 2]].any()


def test_words_that_the_text_lacks_keep_their_vectors(job: Build, tmp_path: Path) -> None:
    going_on = job(tmp_path / "run")
    absent = int(going_on.tokenizer.convert_tokens_to_ids("soup"))
    ids = np.array(going_on.windows.ids)  # type: ignore[attr-defined]
    ids[ids == absent] = going_on.tokenizer.unk_token_id
    windows = dataclasses.replace(going_on.windows, ids=ids)  # type: ignore[type-var]
    counts = torch.from_numpy(np.bincount(ids, minlength=len(going_on.counts)))
    before = going_on.model.embedding.weight.detach().clone()
    train_word_vectors(dataclasses.replace(going_on, windows=windows, counts=counts))
    after = going_on.model.embedding.weight
    assert torch.equal(after[absent], before[absent])
    assert not torch.equal(after[3], before[3])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    job: Build, whole: Path, tmp_path: Path
) -> None:
    train_word_vectors(job(tmp_path / "again"))
    assert outcome(tmp_path / "again") == outcome(whole)
    train_word_vectors(job(tmp_path / "other", seed=1))
    assert outcome(tmp_path / "other")[1] != outcome(whole)[1]


@pytest.mark.parametrize("strike", [kill, interrupt])
def test_stopped_at_each_of_its_steps(
    job: Build, whole: Path, strike: Callable[[], None], tmp_path: Path
) -> None:
    expected = Killed if strike is kill else Interrupted
    for step in range(1, STEPS + 1):
        with pytest.raises(expected):
            train_word_vectors(job(tmp_path / "run", Striking(step, strike), resume=step > 1))
    train_word_vectors(job(tmp_path / "run", resume=True))
    assert outcome(tmp_path / "run") == outcome(whole)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"checkpoint-{STEPS}"]


def test_killed_between_rare_checkpoints_and_at_the_end_of_an_epoch(
    job: Build, whole: Path, tmp_path: Path
) -> None:
    rare = {"checkpoint_minutes": 1000.0}
    with pytest.raises(Interrupted):
        train_word_vectors(job(tmp_path / "run", Striking(2, interrupt), **rare))
    with pytest.raises(Killed):
        train_word_vectors(job(tmp_path / "run", Striking(7, kill), resume=True, **rare))
    with pytest.raises(Killed):
        train_word_vectors(job(tmp_path / "run", Striking("epoch 1:", kill), resume=True, **rare))
    train_word_vectors(job(tmp_path / "run", resume=True, **rare))
    assert outcome(tmp_path / "run") == outcome(whole)


@pytest.mark.parametrize("name", ["checkpoint-3", "checkpoint-8", "model"])
def test_killed_while_a_folder_takes_its_place(
    job: Build, whole: Path, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
) -> None:
    """The dead clean nothing up: half-written folders stay, and the next run copes."""

    def rename(source: Any, target: Any) -> None:
        if Path(target).name == name:
            patch.setattr(shutil, "rmtree", lambda *arguments, **options: None)
            raise Killed
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", rename)
        with pytest.raises(Killed):
            train_word_vectors(job(tmp_path / "run"))
    train_word_vectors(job(tmp_path / "run", resume=True))
    assert outcome(tmp_path / "run") == outcome(whole)
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_dir()]


def test_a_finished_run_resumed_changes_nothing(job: Build, whole: Path) -> None:
    before = outcome(whole)
    result = train_word_vectors(job(whole, resume=True))
    assert outcome(whole) == before
    assert result.steps == STEPS


def test_a_limit_of_steps(job: Build, tmp_path: Path) -> None:
    result = train_word_vectors(job(tmp_path / "run", max_steps=3))
    assert (result.steps, result.epochs) == (3, 0.75)
    lines, _ = outcome(tmp_path / "run")
    assert lines[-1]["learning_rates"][0] == pytest.approx(
        0.05 * 1e-4
    )  # the rate falls over the steps there are


def test_vectors_that_are_no_numbers_are_refused(job: Build, tmp_path: Path) -> None:
    broken = job(tmp_path / "run")
    with torch.no_grad():
        broken.model.embedding.weight[5, 3] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        train_word_vectors(broken)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"evaluate_steps": 5}, "evaluate_steps"),
        ({"tracker": "wandb"}, "tracker"),
        ({"learning_rate": 1e30}, "learning_rate"),
    ],
)
def test_what_there_is_none_of_here_is_refused(
    job: Build, plan: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_word_vectors(job(tmp_path / "run", **plan))


def test_no_words_and_no_sampled_words_are_refused(job: Build, tmp_path: Path) -> None:
    good = job(tmp_path / "run")
    with pytest.raises(DataError, match="no word of the vocabulary"):
        train_word_vectors(dataclasses.replace(good, counts=torch.zeros_like(good.counts)))
    with pytest.raises(ConfigError, match="sampled_softmax; set it to 5"):
        train_word_vectors(dataclasses.replace(good, candidates=0))


def test_without_gensim_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gensim" else find(name))
    with pytest.raises(ConfigError, match=r'gensim is not installed.*pip install "nlptl\[wordvectors\]"'):
        WordVectorsFamily().check_new("tiny", "word", 1000, {})
