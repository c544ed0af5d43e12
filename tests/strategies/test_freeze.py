"""The frozen strategy: features computed once, each kind of head trained on them, the body left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.strategies import freeze as strategy
from nlptl.strategies.examples import Examples
from nlptl.strategies.freeze import document_features, freeze
from nlptl.training.progress import Reporter

Build = Callable[..., UlmfitForSequenceClassification]
Draw = Callable[..., Examples]
SILENT = Reporter(quiet=True)


def test_a_texts_features_are_what_the_body_makes_of_it_alone(
    build: Build, examples: Draw, tmp_path: Path
) -> None:
    model, rows = build(), examples(9)
    (found,) = document_features(model, [rows], "fp32", [tmp_path / "f.npz"], SILENT)
    assert [array.shape for array in found] == [(9, 12)]
    with torch.inference_mode():
        for row, encoding in enumerate(rows.encodings):
            (alone,) = model.represent(torch.from_numpy(encoding["input_ids"])[None].long())
            np.testing.assert_allclose(found[0][row], alone[0].numpy(), atol=1e-6)


def test_features_are_read_where_they_lie_and_the_body_is_not_run(
    build: Build, examples: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows, file = build(bidirectional=True), examples(5), tmp_path / "cache" / "f.npz"
    (first,) = document_features(model, [rows], "fp32", [file], SILENT)
    assert [path.name for path in file.parent.iterdir()] == ["f.npz"]
    monkeypatch.delattr(UlmfitForSequenceClassification, "represent")
    (again,) = document_features(model, [rows], "fp32", [file], SILENT)
    assert len(first) == len(again) == 2
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_parts_are_read_together_and_each_keeps_its_own_features(
    build: Build, examples: Draw, tmp_path: Path
) -> None:
    model, parts = build(), [examples(7), examples(4), examples(6)]
    files = [tmp_path / f"{number}.npz" for number in range(3)]
    (there,) = document_features(model, parts[1:2], "fp32", files[1:2], SILENT)
    together = document_features(model, parts, "fp32", files, SILENT)
    assert [len(features[0]) for features in together] == [7, 4, 6]
    np.testing.assert_array_equal(together[1][0], there[0])
    for part, file, features in zip(parts, files, together, strict=True):
        (again,) = document_features(model, [part], "fp32", [file], SILENT)
        np.testing.assert_array_equal(features[0], again[0])
        (fresh,) = document_features(model, [part], "fp32", [tmp_path / f"fresh-{file.name}"], SILENT)
        np.testing.assert_allclose(features[0], fresh[0], atol=1e-6)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("linear", {"inverse_regularisation"}),
        ("blocks", {"learning_rate", "weight_decay", "epoch"}),
        ("bilstm-attention", {"learning_rate", "weight_decay", "epoch"}),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_each_head_is_fitted_as_its_kind_is_in_both_directions(
    build: Build,
    examples: Draw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    head: str,
    said: set[str],
    several: bool,
) -> None:
    for plan in ("MLP", "TOKEN_HEAD"):
        short = dataclasses.replace(getattr(strategy, plan), epochs=3)
        monkeypatch.setattr(strategy, plan, short)
    problem = "multi_label_classification" if several else "single_label_classification"
    model = build(3, head, bidirectional=True, problem_type=problem)
    labels = np.eye(3, dtype=np.int64)[np.arange(12) % 3] if several else None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chosen = freeze(
        model,
        examples(12, labels),
        examples(12, labels),
        cached=(tmp_path / "train", tmp_path / "validation"),
        precision="fp32",
        class_weights=torch.tensor([1.0, 2.0, 0.5]),
        seed=0,
        reporter=SILENT,
    )
    assert [set(of_head) for of_head in chosen] == [said, said]
    after = model.state_dict()
    moved = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {"head", "backward_head"}
    assert not any(module.training for module in model.modules())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values())
