"""GPT keeps the contract of families."""

from __future__ import annotations

import random

from nlptl.families.gpt.family import GptFamily
from tests.families.contract import FamilyContract

WORDS = "the a film story plot scene was is never very good bad dull bright told seen again and but it we"


def sentences(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 30))) + "." for _ in range(count)]


class TestContract(FamilyContract):
    """With a tiny decoder, whose context is shorter than many of the texts."""

    family = GptFamily()
    size = "tiny"
    architecture = {"n_embd": 12, "n_head": 2, "n_positions": 16, "max_trained_tokens": 64}
    texts = sentences(60)
