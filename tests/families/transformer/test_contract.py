"""The Transformer keeps the contract of families."""

from __future__ import annotations

import random

from nlptl.families.transformer.family import TransformerFamily
from tests.families.contract import FamilyContract

WORDS = "the a film story plot scene was is never very good bad dull bright told seen again and but it we"


def sentences(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 30))) + "." for _ in range(count)]


class TestContract(FamilyContract):
    """With a tiny encoder, whose context is shorter than many of the texts."""

    family = TransformerFamily()
    size = "tiny"
    architecture = {
        "width": 12,
        "feed_forward_width": 24,
        "num_heads": 2,
        "max_positions": 16,
        "max_trained_tokens": 64,
    }
    texts = sentences(60)
