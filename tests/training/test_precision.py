"""Which device and which type: what is asked for, what `auto` chooses, and what is refused."""

from __future__ import annotations

import pytest
import torch

from nlptl.errors import UsageError
from nlptl.training.precision import autocast, inference_precision, resolve_device, training_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"), [(0, False, "cpu"), (2, False, "cuda"), (0, True, "mps"), (1, True, "cuda")]
)
def test_auto_takes_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, gpus, mps)
    assert resolve_device("auto") == torch.device(expected)


def test_a_device_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    assert resolve_device("cpu") == CPU
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(("name", "gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("mps", 2)])
def test_an_absent_device_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int
) -> None:
    pretend(monkeypatch, gpus)
    with pytest.raises(UsageError, match=f"no device '{name}'.*--device auto"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")]
)
def test_auto_trains_in_bf16_on_a_cpu_that_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert training_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (True, "bf16"),
        pytest.param(False, "fp32"),
    ],
)
def test_auto_trains_in_bf16_on_a_gpu_that_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    # As torch answers on older GPUs: they store bf16, and multiply it by way of fp32.
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert training_precision("auto", CUDA) == expected


def test_auto_is_fp32_where_nothing_is_known_of_bf16() -> None:
    assert training_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize("name", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", [training_precision, inference_precision])
def test_what_is_asked_for_is_what_is_used(precision: object, name: str) -> None:
    assert callable(precision)
    assert precision(name, CPU) == name


def test_fp16_needs_a_gpu() -> None:
    assert training_precision("fp16", CUDA) == "fp16"
    with pytest.raises(UsageError, match=r"fp16 training needs a GPU.*bf16 or fp32"):
        training_precision("fp16", CPU)


def test_inference_is_fp32_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert inference_precision("auto", CPU) == "fp32"
    assert inference_precision("auto", CUDA) == "fp32"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_runs_matrix_products_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with autocast(CPU, precision):  # type: ignore[arg-type]
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32
