"""What OpenAI's code and `transformers` computed with tiny weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nlptl.families.gpt.configuration import GptConfig


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of the recorded figures."""
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "gpt"
    if not folder.is_dir():
        pytest.skip("../shared/parity is absent")
    return folder


@pytest.fixture(scope="session")
def expected(recorded: Path) -> dict[str, Tensor]:
    """By name."""
    return load_file(recorded / "tiny_expected.safetensors")


@pytest.fixture
def tiny() -> GptConfig:
    """A model of 50 tokens and a context of 8, whose weights are large enough to see differences by."""
    torch.manual_seed(0)
    return GptConfig(
        vocab_size=50,
        n_positions=8,
        n_embd=12,
        n_layer=2,
        n_head=3,
        initializer_range=0.3,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        classifier_dropout=0.0,
    )
