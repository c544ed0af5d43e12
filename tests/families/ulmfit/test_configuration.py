"""The config: what comes back from disk, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from nlptl.families.ulmfit.configuration import UlmfitConfig


def test_a_saved_config_comes_back_the_same(tmp_path: Path) -> None:
    config = UlmfitConfig(
        vocab_size=60,
        embedding_size=12,
        hidden_size=20,
        direction="backward",
        bidirectional=True,
        weight_dropout=0.37,
        head="linear",
        head_hidden_sizes=[30, 10],
        head_dropouts=[0.3, 0.2, 0.1],
        head_bias=True,
        pooling="mean",
        num_labels=5,
        problem_type="multi_label_classification",
    )
    config.save_pretrained(tmp_path)
    loaded = UlmfitConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, UlmfitConfig)
    assert loaded.to_dict() == config.to_dict()
    assert list(loaded.head_hidden_sizes) == [30, 10]
    assert loaded.num_labels == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": "60"},
        {"hidden_size": 20.5},
        {"direction": "sideways"},
        {"pooling": "median"},
        {"head": "svm"},
        {"bidirectional": "yes"},
        {"weight_dropout": "0.2"},
        {"head_hidden_sizes": 50},
        {"head_hidden_sizes": ["50"]},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(StrictDataclassError, match=next(iter(wrong))):
        UlmfitConfig(**wrong)


def test_the_last_layer_is_as_wide_as_the_embedding() -> None:
    assert UlmfitConfig().layer_widths() == [1152, 1152, 400]
    assert UlmfitConfig(num_layers=1, embedding_size=12).layer_widths() == [12]


def test_the_pooled_width_follows_the_pooling() -> None:
    assert UlmfitConfig(embedding_size=12).pooled_width() == 36
    assert UlmfitConfig(embedding_size=12, pooling="last").pooled_width() == 12
    sizes = {"embedding_size": 12, "hidden_size": 20, "num_layers": 3}
    assert UlmfitConfig(**sizes, layers="all", pooling="mean").pooled_width() == 12 + 20 + 20 + 12


def test_the_words_of_transformers_are_understood() -> None:
    assert UlmfitConfig(num_layers=4).num_hidden_layers == 4
