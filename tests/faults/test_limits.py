"""Little room on the disk and little memory: one clear line and exit code 1, and with room enough it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.striking import Ended, Forge, Job, half_written

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="limits and forks as Linux has them"),
]


@pytest.mark.parametrize("name", ["pretrain ulmfit", "predict"])
def test_a_file_that_is_too_large_for_the_disk(
    name: str, jobs: dict[str, Job], forge: Forge, whole: Callable[[str], tuple[Path, Ended]], tmp_path: Path
) -> None:
    job, (reference, _) = jobs[name], whole(name)
    folder = job.prepare(tmp_path / "job")
    files = [
        file for file in (reference / job.output, *(reference / job.output).rglob("*")) if file.is_file()
    ]
    ended = forge.run(job.line(), folder, file_bytes=max(file.stat().st_size for file in files) // 2)
    assert ended.code == 1, ended.said
    assert ended.is_clear, ended.said
    expected = job.result(reference / job.output)
    assert not half_written(job, folder, reference / job.output, [expected])
    assert forge.run(job.line(job.go_on), folder).code == 0
    assert job.result(folder / job.output) == expected


def test_little_memory(jobs: dict[str, Job], forge: Forge, tmp_path: Path) -> None:
    """More rows at once than there is memory for."""
    job = jobs["pretrain ulmfit"]
    large = ("--set", "architecture.hidden_size=3000")
    ended = forge.run(job.line(*large), job.prepare(tmp_path / "job"), memory=100 * 2**20)
    assert ended.code == 1, ended.said
    assert ended.is_clear, ended.said
    assert "out of memory" in ended.said
