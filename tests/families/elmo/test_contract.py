"""ELMo keeps the contract of families."""

from __future__ import annotations

import random

from nlptl.families.elmo.family import ElmoFamily
from tests.families.contract import FamilyContract

WORDS = "the a film story plot scene was is never very good bad dull bright told seen again and but it we"


def sentences(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 30))) + "." for _ in range(count)]


class TestContract(FamilyContract):
    """With a tiny biLM."""

    family = ElmoFamily()
    size = "tiny"
    architecture = {
        "character_embedding_size": 4,
        "filters": [[1, 4], [2, 6], [3, 8]],
        "projection_size": 6,
        "cell_size": 10,
    }
    texts = sentences(60)
    tokenizer_kind = "word"
    bidirectional = True
