"""What all commands do before their work: one GPU is chosen of those that are seen, and the libraries are imported."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from nlptl.commands.running import _nothing_collected, _on_one_gpu
from nlptl.config import EvaluateConfig
from nlptl.errors import UsageError


@pytest.mark.parametrize(
    ("visible", "device", "chosen"),
    [
        (None, "cuda:1", "1"),
        ("2,3", "cuda:0", "2"),
        ("2,3", "cuda:1", "3"),
        ("2, 3", "cuda:1", "3"),
        ("GPU-1f2e,GPU-77aa", "cuda:1", "GPU-77aa"),
        ("2,3", "cuda", "2,3"),
        ("2,3", "cpu", "2,3"),
    ],
)
def test_a_numbered_gpu_is_one_of_the_visible_ones(
    visible: str | None, device: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert _on_one_gpu(EvaluateConfig(device=device)).device == device.partition(":")[0]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen


@pytest.mark.parametrize(("visible", "count"), [("2,3", 2), ("3", 1), ("", 0), ("0,1,-1,2", 2)])
def test_a_gpu_beyond_the_visible_ones_is_refused(
    visible: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": visible})
    with pytest.raises(UsageError, match=f"leaves {count} GPUs.*--device cuda:2"):
        _on_one_gpu(EvaluateConfig(device="cuda:2"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_garbage_is_looked_for_again_once_the_libraries_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training run that followed would otherwise keep every cycle that it leaves behind."""
    monkeypatch.delitem(sys.modules, "torch")
    with _nothing_collected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), _nothing_collected():
        raise ImportError
    assert gc.isenabled()
