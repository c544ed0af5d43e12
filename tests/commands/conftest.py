"""Runs of `pretrain` and `finetune` that take a second, and what they end with when nothing disturbs them.

A test that takes one of them is run once for each family, unless it names the families that it is about:
`@pytest.mark.parametrize("family", ["ulmfit"], indirect=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nlptl
from nlptl.config import FinetuneConfig, PretrainConfig, validated
from tests.commands.striking import go

# The smallest models there are, of about as many tokens a step.
PRETRAIN: dict[str, dict[str, Any]] = {
    "ulmfit": {"architecture": {"embedding_size": 8, "hidden_size": 12}, "sampled_softmax": 32},
    "elmo": {"architecture": {"projection_size": 4, "cell_size": 6}, "sampled_softmax": 8},
    "wordvectors": {"architecture": {"embedding_size": 8}, "sampled_softmax": 5},
    "gpt": {"architecture": {"n_embd": 8, "n_positions": 32}, "sampled_softmax": 32},
    "transformer": {"architecture": {"width": 8, "feed_forward_width": 16, "max_positions": 32}},
}
FINETUNE = {
    "batch_size": 12,
    "epochs": 3,
    "lm_tuning": True,
    "gradual_unfreezing": True,
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


@pytest.fixture(scope="session", params=list(PRETRAIN))
def family(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    name: str = request.param
    if name == "wordvectors":
        pytest.importorskip("gensim", reason="gensim trains the vectors")
    return name


@pytest.fixture(scope="session")
def pretraining(
    family: str, one_thread: None, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., PretrainConfig]:
    """Configs of the same language model in a new folder each."""
    sizes = {"family": family, "size": "tiny", "vocab_size": 400, "epochs": 2, "batch_size": 8, "bptt": 48}

    def build(**values: Any) -> PretrainConfig:
        own = {"text": [str(text_file)], "output": tmp_path_factory.mktemp("pretrain") / "run"}
        return validated(PretrainConfig, {**SHARED, **sizes, **PRETRAIN[family], **own, **values})

    return build


@pytest.fixture(scope="session")
def finetuning(
    family: str,
    one_thread: None,
    labelled_file: Path,
    tiny_language_model: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., FinetuneConfig]:
    """Configs of the same classifier in a new folder each: language-model tuning, then gradual unfreezing."""

    def build(**values: Any) -> FinetuneConfig:
        language_model = tiny_language_model(family=family, **PRETRAIN[family])
        own = {"model": str(language_model), "data": str(labelled_file)}
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
