"""Models saved by an earlier version load in this one and answer as they did; those of a later version are refused."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import nlptl
from nlptl.errors import ModelError
from nlptl.families import FAMILIES
from nlptl.pretrained.models import check_model_folder

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
MODELS = [
    (path, kind) for path in sorted(FIXTURES.glob("format-*/*")) for kind in ("language-model", "classifier")
]
each_model = pytest.mark.parametrize(("path", "kind"), MODELS, ids=lambda part: getattr(part, "name", part))


@pytest.fixture(scope="module")
def answers() -> Callable[[Path], list[list[float]]]:
    """What the script that froze the models asked of them."""
    nlptl.register_families()
    asked: Callable[[Path], list[list[float]]] = runpy.run_path(str(ROOT / "scripts" / "make_fixtures.py"))[
        "answers"
    ]
    return asked


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_frozen_model_of_the_format_that_it_writes(family: str) -> None:
    written = getattr(FAMILIES[family].config_class, "format_version")  # noqa: B009  # not of every config class
    folder = FIXTURES / f"format-{written}" / family
    assert config_of(folder / "language-model")["format_version"] == written
    assert config_of(folder / "classifier")["format_version"] == written
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 150_000


@each_model
def test_a_model_answers_as_when_it_was_saved(
    path: Path, kind: str, answers: Callable[[Path], list[list[float]]]
) -> None:
    recorded = json.loads((path / "answers.json").read_text(encoding="utf-8"))[kind]
    given = answers(path / kind)
    assert len(given) == len(recorded) == 3
    for row, expected in zip(given, recorded, strict=True):
        torch.testing.assert_close(torch.tensor(row), torch.tensor(expected), rtol=0, atol=1e-5)


@each_model
def test_a_model_loads_by_the_auto_classes(path: Path, kind: str) -> None:
    nlptl.register_families()
    family = FAMILIES[path.name]
    auto = family.language_model_auto if kind == "language-model" else "AutoModelForSequenceClassification"
    if kind == "language-model" and not family.predicts_tokens:
        auto = "AutoModel"
    model, loading = getattr(transformers, auto).from_pretrained(path / kind, output_loading_info=True)
    wanted = family.language_model_class if kind == "language-model" else family.classifier_class
    assert type(model) is wanted
    assert not any(loading[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@each_model
def test_a_newer_format_is_refused_in_a_clear_word(path: Path, kind: str, tmp_path: Path) -> None:
    shutil.copytree(path / kind, tmp_path / "m")
    newer = config_of(path / kind) | {"format_version": FAMILIES[path.name].config_class.format_version + 1}
    (tmp_path / "m" / "config.json").write_text(json.dumps(newer), encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"^written by a newer version of nlptl, .*config.json; update nlptl$"
    ):
        check_model_folder(tmp_path / "m")
