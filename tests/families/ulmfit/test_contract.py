"""ULMFiT keeps the contract of families, with either of its tokenizers."""

from __future__ import annotations

import importlib.util
import random

import pytest

from nlptl.families.ulmfit.family import UlmfitFamily
from tests.families.contract import FamilyContract

WORDS = "the a film story plot scene was is never very good bad dull bright told seen again and but it we"


def sentences(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 30))) + "." for _ in range(count)]


class TestContract(FamilyContract):
    """With byte-level subwords."""

    family = UlmfitFamily()
    size = "tiny"
    architecture = {"embedding_size": 10, "hidden_size": 14, "num_layers": 2}
    texts = sentences(60)
    backward = True


@pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="fastai's words need spaCy")
class TestContractWithWords(TestContract):
    """With fastai's words."""

    tokenizer_kind = "word"
