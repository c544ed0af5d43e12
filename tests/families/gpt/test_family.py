"""What the family says of a run before it begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nlptl.data.corpora import TokenCorpus
from nlptl.families.gpt.family import GptFamily


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        ({"n_embd": 768}, 6.25e-5),  # Radford et al. 2018, section 4.1
        ({}, 6.25e-5),  # a native config that says nothing has this width
        ({"n_embd": 384}, 2.5e-4),
        ({"n_embd": 256}, 5.625e-4),
        ({"n_embd": 64}, 1e-3),
        ({"n_embd": "wide"}, 6.25e-5),
    ],
)
def test_the_rate_of_fine_tuning_goes_with_the_width(config: dict[str, Any], rate: float) -> None:
    recipe = GptFamily().finetuning_recipe(config)
    assert recipe["learning_rate"] == pytest.approx(rate)
    assert {**recipe, "learning_rate": 0} == {**GptFamily.recipes["finetune"], "learning_rate": 0}


def test_no_window_of_a_corpus_is_longer_than_the_context() -> None:
    family = GptFamily()
    tokenizer = family.train_tokenizer("subword", ["a film"] * 5, 300)
    config = family.build_config("tiny", tokenizer, False, {"n_positions": 16})
    windows = family.windows(TokenCorpus(np.arange(200), 1, 200), 2, 64, tokenizer, config)
    assert len(windows[0][0]) == 16
