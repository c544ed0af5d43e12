"""Word vectors keep the contract of families."""

from __future__ import annotations

import random

from nlptl.families.wordvectors.family import WordVectorsFamily
from tests.families.contract import FamilyContract

WORDS = "the a film story plot scene was is never very good bad dull bright told seen again and but it we"


def sentences(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 30))) + "." for _ in range(count)]


class TestContract(FamilyContract):
    """With the classifier's default head."""

    family = WordVectorsFamily()
    size = "tiny"
    architecture = {"embedding_size": 10}
    texts = sentences(60)
    tokenizer_kind = "word"
