"""What the benchmarks share: systems measured side by side, on one machine in one run.

Each measurement runs in a fresh process, so that its peak of memory is its own. In every round each system has its
turn; ratios are taken within a round, and medians over the rounds. A measurement that dies is reported, and not tried
again. A script says its jobs and calls `compare`.

A process begins with its parent's peak of memory as its own: outside its tasks a script imports nothing large, but
what all of its systems need.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

RATIOS = ("speed", "memory")  # figures that are compared with another system's
PLACES = ("file", "folder")  # values of a job that tell nothing after the run
PACKAGES = ("nlptl", "torch", "transformers")
PEAK_WIDTH, PEAK_TRIES, PEAK_SECONDS = 2048, 20, 5.0

Figures = dict[str, Any]


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        values: what a task is given for this system, beside the values of the job; JSON.
        against: the system that its ratios are to, and may be itself.
    """

    name: str
    values: Mapping[str, Any]
    against: str


@dataclass(frozen=True)
class Job:
    """A column of the table: a task that every system does.

    The task returns figures: `speed` in `unit`, `memory` in MiB, and other numbers that stand beside them, such as a
    loss. With `gflops`, what its matrix products come to in a second, and `precision` it is told what share of this
    machine's peak that is.

    Attributes:
        values: what the task is given, whatever the system; JSON.
    """

    name: str
    unit: str
    task: Callable[..., Figures]
    values: Mapping[str, Any]
    systems: Sequence[System]


def option_parser(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"{rounds} by default")
    parser.add_argument(
        "--output", type=Path, help="JSON file of every figure; the table goes beside it, as .md"
    )
    parser.add_argument("--jobs", nargs="+", metavar="NAME", help="only these columns of the table")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="only these rows of the table")
    return parser


def compare(
    jobs: Sequence[Job], options: argparse.Namespace, packages: Iterable[str] = (), **facts: Any
) -> None:
    """Run all rounds, write what there is after each of them, and print the table.

    Args:
        options: of `option_parser`.
        packages: the peers', whose versions are told.
        facts: further entries of the JSON file.
    """
    names = [*PACKAGES, *packages]
    jobs = [job for job in jobs if not options.jobs or job.name in options.jobs]
    report: Figures = {"machine": in_child(machine, packages=names), **facts}
    report["jobs"] = {
        job.name: {"unit": job.unit, **{key: job.values[key] for key in job.values if key not in PLACES}}
        for job in jobs
    }
    runs: dict[str, dict[str, list[Figures]]] = {job.name: {} for job in jobs}
    peaks: list[dict[str, float]] = []
    for number in range(1, options.rounds + 1):
        peaks.append(in_child(matrix_product_peaks))
        for job in jobs:
            for system in job.systems:
                if options.systems and system.name not in options.systems:
                    continue
                done = runs[job.name].setdefault(system.name, [])
                if not any("failed" in run for run in done):
                    done.append(in_child(job.task, **job.values, **system.values))
                    said = f"round {number}, {job.name}, {system.name}: {json.dumps(done[-1])}"
                    print(said, file=sys.stderr, flush=True)
        report |= {"peaks": peaks, "runs": runs}
        report["medians"] = {job.name: medians(job.systems, runs[job.name], peaks) for job in jobs}
        if options.output:
            options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            options.output.with_suffix(".md").write_text(markdown(jobs, report) + "\n", encoding="utf-8")
    print(markdown(jobs, report), flush=True)


# -- processes


def in_child(task: Callable[..., Any], **values: Any) -> Any:
    """What a task, a function of some script, returns in a fresh process; where that died, {"failed": how}."""
    line = [sys.executable, __file__, str(inspect.getsourcefile(task)), task.__name__, json.dumps(values)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    killed = f"killed by signal {-done.returncode}, memory ran out?"
    return {"failed": killed if done.returncode < 0 else last}


def peak_memory() -> float:
    """The most memory that this process has held so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def child(file: str, task: str, values: str) -> None:
    """Run one task; where memory runs out, it is this process that the kernel should end."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    result = getattr(module, task)(**json.loads(values))
    print(f"\n{json.dumps(result)}", flush=True)


# -- the machine


def machine(packages: Sequence[str]) -> Figures:
    """What is measured on, and with which versions."""
    import torch

    found: Figures = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found["processor"] = next(
            line.split(":")[1].strip() for line in lines if line.startswith("model name")
        )
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found["memory, GiB"] = round(int(lines[0].split()[1]) / 2**20, 1)
    found |= {"threads": torch.get_num_threads(), "kernels": torch.backends.cpu.get_cpu_capability()}
    found["amx"] = torch.cpu._is_amx_tile_supported()
    found["python"] = platform.python_version()
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def matrix_product_peaks() -> dict[str, float]:
    """The most GFLOP/s that a square product of 2,048 reaches now, by precision."""
    import torch

    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one, other = (torch.randn(PEAK_WIDTH, PEAK_WIDTH).to(dtype) for _ in range(2))
        best, until = float("inf"), time.perf_counter() + PEAK_SECONDS
        for _ in range(PEAK_TRIES):
            began = time.perf_counter()
            one @ other
            ended = time.perf_counter()
            best = min(best, ended - began)
            if ended > until:  # a machine that has no instructions for this type
                break
        found[name] = round(2 * PEAK_WIDTH**3 / best / 1e9, 1)
    return found


# -- figures


def medians(
    systems: Sequence[System],
    runs: Mapping[str, Sequence[Figures]],
    peaks: Sequence[Mapping[str, float]] = (),
) -> dict[str, Figures]:
    """Each system's medians over its rounds, those of its ratios within a round, and its share of the peak.

    Args:
        runs: the figures of each round, by system; of one that died, up to how it did.
        peaks: GFLOP/s by precision, of each round; the machine's is the best of them.
    """
    cells: dict[str, Figures] = {}
    for system in systems:
        rounds = runs.get(system.name, [])
        if not rounds or "failed" in rounds[-1]:
            cells[system.name] = rounds[-1] if rounds else {}
            continue
        cell: Figures = {
            key: statistics.median(run[key] for run in rounds)
            for key, value in rounds[0].items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        for key in RATIOS:
            pairs = zip(rounds, runs.get(system.against, []), strict=False)
            ratios = [run[key] / peer[key] for run, peer in pairs if key in run and key in peer]
            if ratios:
                cell[f"{key} ratio"] = statistics.median(ratios)
        peak = max((known.get(rounds[0].get("precision"), 0) for known in peaks), default=0)
        if "gflops" in cell and peak:
            cell["share of the peak"] = cell["gflops"] / peak
        cells[system.name] = cell
    return cells


def markdown(jobs: Sequence[Job], report: Figures) -> str:
    """The table, a row a system and a column a job, with the machine under it."""
    rows = list(dict.fromkeys(system.name for job in jobs for system in job.systems))
    lines = [["", *(f"{job.name}: {job.unit}; MiB" for job in jobs)], ["---"] * (len(jobs) + 1)]
    for row in rows:
        cells = [report["medians"][job.name].get(row, {}) for job in jobs]
        if any(cells):
            lines.append([row, *map(told, cells)])
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    known = [peak for peak in report["peaks"] if "failed" not in peak]
    peaks = ", ".join(
        f"{max(peak[name] for peak in known):,.0f} GFLOP/s in {name}" for name in (known[0] if known else ())
    )
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\nMedians of {len(report['peaks'])} rounds. Machine: {facts}. Matrix products at most: {peaks}."


def told(cell: Figures) -> str:
    """One cell: speed and memory with their ratios, what stands beside them, and the share of the peak."""
    if not cell:
        return "–"
    if "failed" in cell:
        return str(cell["failed"]).replace("|", "/")
    ratios = {key: f" ({cell[f'{key} ratio']:.2f} ×)" for key in RATIOS if f"{key} ratio" in cell}
    parts = [f"{number(cell['speed'])}{ratios.get('speed', '')}"]
    if "memory" in cell:
        parts.append(f"{cell['memory']:,.0f}{ratios.get('memory', '')}")
    shown = {*RATIOS, *(f"{key} ratio" for key in RATIOS), "gflops", "share of the peak"}
    parts += [f"{key} {number(value)}" for key, value in cell.items() if key not in shown]
    if "share of the peak" in cell:
        parts.append(f"{cell['share of the peak']:.0%} of the peak")
    return "; ".join(parts)


def number(value: float) -> str:
    """Four digits at most, but for whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    child(*sys.argv[1:])
