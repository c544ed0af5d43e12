"""Word vectors by gensim: what it learns and logs, and what it is not asked to do.

That a run which was stopped ends with the same bytes is tested of every family alike, in tests/commands/test_resume.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlptl.config import FinetuneConfig, LmTuningConfig, PretrainConfig, with_recipe
from nlptl.errors import ConfigError, DataError, ModelError
from nlptl.families.wordvectors.family import WordVectorsFamily
from nlptl.families.wordvectors.modeling import WordVectorsModel
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer
from nlptl.families.wordvectors.training import train_word_vectors
from nlptl.training.language_modeling import LanguageModelJob
from tests.families.wordvectors.conftest import TOPICS

Build = Callable[..., LanguageModelJob]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gensim") is None, reason="gensim trains the vectors"
)
STEPS = 8


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


@pytest.mark.parametrize("skip_gram", [False, True])
def test_words_of_one_topic_end_up_near_each_other(
    job: Build, tokenizer: WordVectorsTokenizer, tmp_path: Path, skip_gram: bool
) -> None:
    long = job(tmp_path / "run", epochs=300)  # of so few words almost all are left out, each so common
    long.model.config.skip_gram = skip_gram
    result = train_word_vectors(long)
    assert (result.steps, result.epochs, result.best_step) == (1200, 300.0, 1200)
    model = WordVectorsModel.from_pretrained(tmp_path / "run" / "model")
    vectors = torch.nn.functional.normalize(model.embedding.weight.detach(), dim=1)
    cook, sail = (vectors[tokenizer.convert_tokens_to_ids(list(words))] for words in TOPICS)
    assert (cook @ cook.T).min() > (cook @ sail.T).max()
    losses = [line["loss"] for line in outcome(tmp_path / "run")[0]]
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])


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


@pytest.mark.parametrize(("key", "value"), [("skip_gram", True), ("window", 2)])
def test_how_the_config_has_words_read_matters(
    job: Build, whole: Path, tmp_path: Path, key: str, value: int
) -> None:
    other = job(tmp_path / "other")
    setattr(other.model.config, key, value)
    train_word_vectors(other)
    assert outcome(tmp_path / "other")[1] != outcome(whole)[1]


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
    ("values", "message"),
    [
        ({"evaluate_steps": 5}, "no held-out loss, evaluate_steps; set it to 0"),
        ({"tracker": "wandb"}, "not reported to a tracker, tracker; set it to none"),
        ({"learning_rate": 1e30}, "diverge, learning_rate; set it to 0.05"),
        ({"sampled_softmax": 0}, "against sampled words, sampled_softmax; set it to 5"),
    ],
)
def test_what_there_is_none_of_here_is_refused_before_any_text_is_read(
    values: dict[str, Any], message: str
) -> None:
    family = WordVectorsFamily()
    good = with_recipe(PretrainConfig(), family.recipes["pretrain"])
    family.check_options(good, good)
    bad = good.model_copy(update=values)
    with pytest.raises(ConfigError, match=message):
        family.check_options(bad, bad)


def test_a_text_without_any_known_word_is_refused(job: Build, tmp_path: Path) -> None:
    good = job(tmp_path / "run")
    with pytest.raises(DataError, match="no word of the vocabulary"):
        train_word_vectors(dataclasses.replace(good, counts=torch.zeros_like(good.counts)))


def test_without_gensim_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new table, of one that goes on, and of one that a classifier's text is to tune."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gensim" else find(name))
    family = WordVectorsFamily()
    for config in (PretrainConfig(), LmTuningConfig()):
        with pytest.raises(ConfigError, match=r'gensim is not installed.*pip install "nlptl\[wordvectors\]"'):
            family.check_options(config, FinetuneConfig())
