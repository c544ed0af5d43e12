"""The config: what comes back from disk, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from nlptl.families.wordvectors.configuration import WordVectorsConfig


def test_a_saved_config_comes_back_the_same(tmp_path: Path) -> None:
    config = WordVectorsConfig(
        vocab_size=60,
        embedding_size=12,
        vector_dropout=0.3,
        max_trained_tokens=99,
        head="bilstm-attention",
        head_hidden_sizes=[30],
        head_dropouts=[0.3, 0.2],
        pooling="mean",
        num_labels=5,
        problem_type="multi_label_classification",
    )
    config.save_pretrained(tmp_path)
    loaded = WordVectorsConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.num_labels == 5
    assert loaded.num_hidden_layers == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": "60"},
        {"vocab_size": 3},
        {"embedding_size": 0},
        {"window": 0},
        {"skip_gram": "yes"},
        {"pooling": "median"},
        {"head": "svm"},
        {"vector_dropout": 1.0},
        {"max_trained_tokens": 0},
        {"head_hidden_sizes": 50},
        {"head_hidden_sizes": [0]},
        {"head_dropouts": [0.1]},
        {"head_hidden_sizes": [8, 8], "head_dropouts": [0, 0, 0], "head": "bilstm-attention"},
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises((StrictDataclassError, ValueError), match=next(iter(wrong)).removeprefix("vector_")):
        WordVectorsConfig(**wrong)


def test_the_pooled_width_follows_the_pooling() -> None:
    assert WordVectorsConfig(embedding_size=12).pooled_width() == 36
    assert WordVectorsConfig(embedding_size=12, pooling="last").pooled_width() == 12
