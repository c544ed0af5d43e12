"""Runs of `pretrain` and `finetune` that take a second, and what they end with when nothing disturbs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nlptl
from nlptl.config import FinetuneConfig, PretrainConfig, validated
from tests.commands.striking import go

PRETRAIN = {
    "family": "ulmfit",
    "size": "tiny",
    "vocab_size": 400,
    "epochs": 2,
    "bptt": 48,
    "sampled_softmax": 32,
}
FINETUNE = {
    "batch_size": 12,
    "epochs": 3,
    "lm": {"epochs": 1, "batch_size": 4, "bptt": 24},
    "learning_rate": 0.02,
}
SHARED = {"device": "cpu", "precision": "fp32", "log_steps": 1, "checkpoint_minutes": 0}


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and the processes that tests start have one."""
    nlptl.register_families()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pretraining(
    one_thread: None, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., PretrainConfig]:
    """Configs of the same language model in a new folder each."""
    architecture = {"embedding_size": 8, "hidden_size": 12}

    def build(**values: Any) -> PretrainConfig:
        own = {"text": [str(text_file)], "output": tmp_path_factory.mktemp("pretrain") / "run"}
        return validated(
            PretrainConfig,
            {**SHARED, **PRETRAIN, "architecture": architecture, "batch_size": 8, **own, **values},
        )

    return build


@pytest.fixture(scope="session")
def finetuning(
    one_thread: None,
    labelled_file: Path,
    language_model_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., FinetuneConfig]:
    """Configs of the same classifier in a new folder each: language-model tuning, then gradual unfreezing."""

    def build(**values: Any) -> FinetuneConfig:
        own = {"model": str(language_model_folder), "data": str(labelled_file)}
        own["output"] = str(tmp_path_factory.mktemp("finetune") / "run")
        return validated(FinetuneConfig, {**SHARED, **FINETUNE, **own, **values})

    return build


@pytest.fixture(scope="session")
def pretrained(pretraining: Callable[..., PretrainConfig]) -> Path:
    """A language model whose training nothing disturbed."""
    config = pretraining()
    go(config)
    assert config.output is not None
    return config.output


@pytest.fixture(scope="session")
def finetuned(finetuning: Callable[..., FinetuneConfig]) -> Path:
    """A classifier whose training nothing disturbed."""
    config = finetuning()
    go(config)
    assert config.output is not None
    return config.output
