"""Features of a layer below the last: a model has as many layers as its own config says, not as its class's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nlptl
from nlptl.errors import ConfigError
from nlptl.families import FAMILIES
from nlptl.pretrained.models import find_model

DEPTHS = {
    "gpt": {"n_embd": 4, "n_head": 2, "n_layer": 13},
    "transformer": {
        "width": 4,
        "feed_forward_width": 4,
        "num_heads": 2,
        "num_encoder_layers": 7,
        "num_decoder_layers": 1,
    },
}
LABELS = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}


@pytest.fixture(params=DEPTHS)
def family(request: pytest.FixtureRequest) -> str:
    nlptl.register_families()
    name: str = request.param
    return name


def saved(family: str, folder: Path, **values: Any) -> Path:
    kind = FAMILIES[family]
    tokenizer = kind.train_tokenizer("subword", ["a film"] * 5, 330)
    model = kind.language_model_class(
        kind.build_config("tiny", tokenizer, False, {**DEPTHS[family], **values})
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_layer_beyond_the_model_s_is_refused_before_anything_is_trained(
    family: str, tmp_path: Path
) -> None:
    layers = "n_layer" if family == "gpt" else "num_encoder_layers"
    found = find_model(str(saved(family, tmp_path, **{layers: 2})))
    found.check_changes({"feature_layer": 2})
    with pytest.raises(ConfigError, match="feature_layer is a number from 0 to 2"):
        found.check_changes({"feature_layer": 4})


def test_the_last_layers_of_a_deep_model_can_be_chosen(family: str, tmp_path: Path) -> None:
    kind, folder = FAMILIES[family], saved(family, tmp_path)
    found = find_model(str(folder))
    layers = found.config["n_layer" if family == "gpt" else "num_encoder_layers"]
    chosen = {"feature_layer": layers}
    found.check_changes(chosen)
    kind.classifier_tokenizer(found.load_tokenizer(), chosen)
    assert kind.build_classifier([folder], chosen, LABELS).config.feature_layer == layers
