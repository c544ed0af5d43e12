"""Token vectors on disk: foretold, whole or absent, in half precision, read as they were written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from nlptl.errors import RunFailed
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.strategies.examples import Examples
from nlptl.strategies.token_features import TokenVectors, token_features, token_forecast
from nlptl.training.progress import Reporter

Build = Callable[..., UlmfitForSequenceClassification]
Draw = Callable[..., Examples]


class Notes(Reporter):
    """Remembers what was said, and when the body had been run."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry each time that the body is run."""
    made: list[int] = []
    represent = UlmfitForSequenceClassification.represent

    def counted(self: Any, *inputs: Any) -> Any:
        made.append(1)
        return represent(self, *inputs)

    monkeypatch.setattr(UlmfitForSequenceClassification, "represent", counted)
    return made


def computed(
    model: UlmfitForSequenceClassification, rows: Examples, folder: Path, reporter: Reporter | None = None
) -> list[TokenVectors]:
    return token_features(model, [rows], "fp32", [folder], reporter or Notes())[0]


@pytest.mark.parametrize("options", [{}, {"chunk_length": 3, "max_pooled_tokens": 7}])
def test_each_text_has_the_vectors_of_its_tokens(
    build: Build, examples: Draw, tmp_path: Path, options: dict[str, Any]
) -> None:
    model, rows = build(head="bilstm-attention", bidirectional=True, **options), examples(9)
    heads = computed(model, rows, tmp_path / "f")
    assert len(heads) == 2
    order = [8, 1, 3]
    batches = [head.batch(order) for head in heads]
    for place, row in enumerate(order):
        ids = torch.from_numpy(rows.encodings[row]["input_ids"])[None].long()
        with torch.inference_mode():
            alone = model.represent(ids)
        for (vectors, mask), expected in zip(batches, alone, strict=True):
            count = heads[0].lengths[row]
            assert mask[place].tolist() == [True] * count + [False] * (vectors.shape[1] - count)
            assert vectors.dtype == torch.float32
            torch.testing.assert_close(vectors[place, :count], expected[0, :count], atol=1e-3, rtol=1e-3)
            assert not vectors[place, count:].any()


def test_what_they_take_on_disk_is_said_before_the_body_is_run(
    build: Build, examples: Draw, tmp_path: Path, passes: list[int]
) -> None:
    model, parts = build(head="bilstm-attention"), [examples(9), examples(4)]

    class Early(Notes):
        def note(self, text: str) -> None:
            assert not passes
            super().note(text)

    reporter = Early()
    folders = [tmp_path / "cache" / name for name in ("train", "validation")]
    token_features(model, parts, "fp32", folders, reporter)
    tokens = sum(parts[0].lengths) + sum(parts[1].lengths)
    (said,) = reporter.said
    assert said.startswith(
        f"token features: 13 texts, {tokens} tokens x 2 layers x 4 in half precision = 0.0 MB"
    )
    assert str(tmp_path / "cache") in said
    files = [file.stat().st_size for folder in folders for file in folder.glob("head-*")]
    forecasts = [token_forecast(model, part.lengths).bytes for part in parts]
    assert sum(files) == sum(forecasts) == tokens * 2 * 4 * 2


def test_they_are_computed_once(build: Build, examples: Draw, tmp_path: Path, passes: list[int]) -> None:
    model, rows, reporter = build(head="bilstm-attention"), examples(9), Notes()
    (first,) = computed(model, rows, tmp_path / "f", reporter)
    assert passes
    passes.clear()
    (again,) = computed(model, rows, tmp_path / "f", reporter)
    assert not passes
    assert len(reporter.said) == 1, "nothing is to be written the second time"
    assert all(torch.equal(*pair) for pair in zip(first.batch([0, 2]), again.batch([0, 2]), strict=True))


@pytest.mark.parametrize("damage", ["cut", "absent", "offsets"])
def test_damaged_ones_are_made_anew(
    build: Build, examples: Draw, tmp_path: Path, passes: list[int], damage: str
) -> None:
    model, rows, folder = build(head="bilstm-attention"), examples(9), tmp_path / "f"
    (vectors,) = computed(model, rows, folder)
    whole = vectors.file.read_bytes()
    passes.clear()
    if damage == "cut":
        vectors.file.write_bytes(whole[:-2])
    elif damage == "absent":
        vectors.file.unlink()
    else:
        (folder / "offsets.npy").write_bytes(b"\x93NUMPY")
    computed(model, rows, folder)
    assert passes
    assert vectors.file.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_an_interrupted_computation_leaves_nothing(
    build: Build, examples: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Any, *inputs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(UlmfitForSequenceClassification, "represent", stopped)
    with pytest.raises(KeyboardInterrupt):
        computed(build(head="bilstm-attention"), examples(9), tmp_path / "cache" / "f")
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_killed_run_left_is_removed_after_a_day(build: Build, examples: Draw, tmp_path: Path) -> None:
    old, new = tmp_path / ".partial-old", tmp_path / ".partial-new"
    for folder in (old, new):
        folder.mkdir()
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    computed(build(head="bilstm-attention"), examples(3), tmp_path / "f")
    assert not old.exists()
    assert new.exists()


def test_a_disk_without_room_is_refused_before_anything_is_written(
    build: Build, examples: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("nlptl.strategies.token_features.shutil.disk_usage", lambda path: Usage(2**20))
    with pytest.raises(
        RunFailed, match=r"the disk has 1\.0 MB left, .*cache; .*--head.*--max-length.*NLPTL_CACHE"
    ):
        computed(build(head="bilstm-attention"), examples(9), tmp_path / "cache" / "f")
    assert not passes
    assert not list(tmp_path.iterdir())


def test_values_beyond_half_precision_are_kept_finite(build: Build, examples: Draw, tmp_path: Path) -> None:
    model = build(head="bilstm-attention")
    with torch.no_grad():
        model.encoder.embedding.weight[5] = 1e6
    rows = Examples([{"input_ids": np.array([5]), "attention_mask": np.array([1])}], np.array([0]))
    (vectors,) = computed(model, rows, tmp_path / "f")
    assert float(vectors.batch([0])[0].max()) == 65504


def test_texts_without_any_token_have_a_place(build: Build, tmp_path: Path) -> None:
    empty = np.zeros(0, dtype=np.int64)
    rows = Examples([{"input_ids": empty, "attention_mask": empty}] * 2, np.array([0, 1]))
    (vectors,) = computed(build(head="bilstm-attention"), rows, tmp_path / "f")
    x, mask = vectors.batch([1, 0])
    assert (x.shape, mask.any().item()) == ((2, 1, 2, 4), False)
