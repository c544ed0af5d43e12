"""Models and words that several tests of the language model use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlptl.families.elmo.characters import BOS, EOS, character_ids, mark_ids
from nlptl.families.elmo.configuration import ElmoConfig
from nlptl.families.elmo.conversion import convert_weights, read_options
from nlptl.families.elmo.modeling import ElmoForCausalLM, ElmoModel

WORDS = 40


@pytest.fixture(scope="session")
def released_files() -> Path:
    """The folder of the recorded biLM and of what the originals compute with it."""
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "elmo"
    if not folder.is_dir():
        pytest.skip("../shared/parity is absent")
    return folder


@pytest.fixture(scope="session")
def released(released_files: Path) -> Callable[[bool], ElmoModel]:
    """Builds the recorded biLM, with skip connections or without."""

    def build(skip: bool) -> ElmoModel:
        options = read_options(released_files / ("options_skip.json" if skip else "options.json"))
        config = ElmoConfig(vocab_size=4, **options)
        model = ElmoModel(config).eval()
        state_dict, ignored = convert_weights(released_files / "lm_weights.hdf5", config)
        assert ignored == []
        model.load_state_dict(state_dict)
        return model

    return build


@pytest.fixture(scope="session")
def spelled() -> Callable[[Sequence[Sequence[str]]], Tensor]:
    """Spells sentences with their boundaries, padded on the right: (sentences, words, 50)."""

    def spell(sentences: Sequence[Sequence[str]]) -> Tensor:
        ids = np.zeros((len(sentences), max(map(len, sentences)) + 2, 50), dtype=np.int64)
        for row, words in enumerate(sentences):
            for place, word in enumerate([mark_ids(BOS), *map(character_ids, words), mark_ids(EOS)]):
                ids[row, place] = word
        return torch.from_numpy(ids)

    return spell


@pytest.fixture
def language_model() -> Callable[..., ElmoForCausalLM]:
    """Builds a model of random weights, the same at each call, large enough for differences to show."""

    def build(**options: Any) -> ElmoForCausalLM:
        torch.manual_seed(0)
        config = ElmoConfig(
            vocab_size=WORDS,
            character_embedding_size=4,
            filters=[[1, 4], [3, 8]],
            highway_layers=1,
            projection_size=6,
            cell_size=10,
            **options,
        )
        model = ElmoForCausalLM(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "embedding" not in name:
                    parameter.normal_(std=0.4)
        return model

    return build


@pytest.fixture
def words() -> Callable[..., Tensor]:
    """Draws characters of words for the shape asked for, (..., 50), the same at each call."""

    def draw(*shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(98, 110, (*shape, 50), generator=generator)
        lengths = torch.randint(3, 12, (*shape, 1), generator=generator)
        places = torch.arange(50)
        ids = ids.masked_fill(places >= lengths, 261).masked_fill(places == lengths - 1, 260)
        return ids.masked_fill(places == 0, 259)

    return draw


@pytest.fixture
def padded_batch(words: Callable[..., Tensor]) -> tuple[Tensor, Tensor, list[int]]:
    """Four texts, padded beyond the longest: characters (4, 12, 50), mask (4, 12), and the texts' lengths."""
    lengths = [9, 5, 1, 7]
    mask = (torch.arange(12) < torch.tensor(lengths)[:, None]).long()
    return words(4, 12) * mask[..., None], mask, lengths
