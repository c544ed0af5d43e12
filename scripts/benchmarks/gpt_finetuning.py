"""GPT at its full size: fine-tuning and prediction by nlptl beside `transformers`, on one machine in one run.

The peer is `OpenAIGPTForSequenceClassification` under the plain `Trainer`. Weights and token ids are random, because
speed does not depend on them; lengths are those of TREC's questions, or 512 tokens. Systems take turns, each
measurement in a process of its own, so that its peak of memory is its own; the first step is not counted. Printed are
medians over the rounds. What both compute is compared first: logits, and losses over some steps without dropout.

usage: python scripts/benchmarks/gpt_finetuning.py --output gpt.json [--rounds 5] [--steps 4]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.configuration import GptConfig
from nlptl.strategies.examples import Examples
from nlptl.training.batching import LengthBuckets, padded
from nlptl.training.inference import class_probabilities
from nlptl.training.progress import Reporter
from nlptl.training.trainers import ClassifierTrainer, TrainingPlan, peak_memory_mb

# Twentieths of TREC's training questions by their length in GPT's vocabulary, two marks included.
TREC_LENGTHS = (7, 8, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 17, 19, 21, 24)
SYSTEMS = {
    "transformers fp32": {"peer": True, "precision": "fp32"},
    "transformers bf16": {"peer": True, "precision": "bf16"},
    "nlptl fp32": {"peer": False, "precision": "fp32", "lm_weight": 0.0},
    "nlptl bf16": {"peer": False, "precision": "bf16", "lm_weight": 0.0},
    "nlptl bf16, with the language model's loss": {"peer": False, "precision": "bf16", "lm_weight": 0.5},
}
VOCABULARY, CLASSES = 40478, 6


class Enough(Exception):
    """The steps to be timed are done."""


class Stopwatch(TrainerCallback):
    """Times steps after the first."""

    def __init__(self, steps: int) -> None:
        self.steps, self.times, self.peak = steps, [], 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.monotonic())
        if len(self.times) > self.steps:
            self.peak = peak_memory_mb(torch.device("cpu"))
            raise Enough


def texts(length: str, count: int) -> Examples:
    """Random ids; `length` is `trec` or a number of tokens."""
    draw = np.random.default_rng(0)
    lengths = draw.choice(TREC_LENGTHS, count) if length == "trec" else np.full(count, int(length))
    encodings = [
        {"input_ids": draw.integers(1, VOCABULARY, n), "attention_mask": np.ones(n, int)} for n in lengths
    ]
    return Examples(encodings, draw.integers(0, CLASSES, count))


def sizes(job: dict[str, Any]) -> dict[str, int]:
    return {"vocab_size": VOCABULARY, "n_embd": job["width"], "n_layer": job["layers"], "n_head": 12}


def peer_model(job: dict[str, Any], **values: Any) -> OpenAIGPTForSequenceClassification:
    torch.manual_seed(0)
    config = OpenAIGPTConfig(**sizes(job), num_labels=CLASSES, pad_token_id=0, **values)
    return OpenAIGPTForSequenceClassification(config)


def own_model(job: dict[str, Any], **values: Any) -> GptForSequenceClassification:
    torch.manual_seed(0)
    dropouts = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.0}
    given = {**dropouts, "num_labels": CLASSES, "pad_token_id": 0, "lm_weight": job.get("lm_weight", 0.0)}
    return GptForSequenceClassification(GptConfig(**{**sizes(job), **given, **values}))


def collate(rows: Sequence[Any]) -> dict[str, torch.Tensor]:
    return padded(rows, 0)


def fine_tuning(job: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Examples a second, MiB at the peak."""
    watch = Stopwatch(job["steps"])
    train = texts(job["length"], job["batch"] * (job["steps"] + 2))
    bf16 = job["precision"] == "bf16"
    if job["peer"]:
        arguments = TrainingArguments(
            str(folder),
            per_device_train_batch_size=job["batch"],
            bf16=bf16,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        run: Callable[[], Any] = Trainer(peer_model(job), arguments, collate, train, callbacks=[watch]).train
    else:
        plan = TrainingPlan(
            stage="classifier",
            output=folder,
            epochs=1,
            learning_rate=6.25e-5,
            discriminative_decay=1.0,
            schedule="linear-decay",
            optimizer="openai-adam",
            betas=(0.9, 0.999),
            weight_decay=0.01,
            gradient_clip=1.0,
            device=torch.device("cpu"),
            precision=job["precision"],
            seed=0,
        )
        batches = torch.utils.data.DataLoader(
            train, batch_sampler=LengthBuckets(train.lengths, job["batch"], 0), collate_fn=collate
        )
        trainer = ClassifierTrainer(
            own_model(job),
            plan,
            batches,
            evaluate=None,
            save=lambda path: None,
            reporter=Reporter(quiet=True),
            callbacks=[watch],
        )
        run = lambda: trainer.run(resume=False)  # noqa: E731
    with contextlib.suppress(Enough):
        run()
    return job["batch"] * job["steps"] / (watch.times[-1] - watch.times[0]), watch.peak


def prediction(job: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Examples a second, MiB at the peak."""
    rows = texts(job["length"], job["batch"] * job["steps"] * (8 if job["length"] == "trec" else 1))
    few = rows.encodings[: job["batch"]]
    if job["peer"]:
        model = peer_model(job).eval()

        def predict(encodings: Sequence[Any]) -> None:
            enabled = job["precision"] == "bf16"
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                for start in range(0, len(encodings), job["batch"]):
                    model(**padded(encodings[start : start + job["batch"]], 0)).logits.softmax(1)
    else:
        own = own_model(job).eval()

        def predict(encodings: Sequence[Any]) -> None:
            class_probabilities(own, encodings, job["precision"])

    predict(few)
    began = time.monotonic()
    predict(rows.encodings)
    return len(rows) / (time.monotonic() - began), peak_memory_mb(torch.device("cpu"))


def agreement(job: dict[str, Any]) -> dict[str, Any]:
    """How far apart logits are, and the losses of both over some steps from the same weights without dropout."""
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    peer, own = peer_model(job, **still), own_model(job, **still, classifier_dropout=0.0)
    own.transformer.load_state_dict(peer.transformer.state_dict())
    with torch.no_grad():
        own.head.weight.copy_(peer.score.weight)
        own.head.bias.zero_()
    batch = collate([texts("trec", 16)[i] for i in range(16)])
    found: dict[str, Any] = {}
    with torch.no_grad():
        expected = peer(**batch).logits
        for precision in ("fp32", "bf16"):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = own(**batch).logits
            found[f"logits, {precision}"] = float((logits - expected).abs().max())
    own.head.bias.requires_grad_(False)
    for name, model in (("transformers", peer), ("nlptl", own)):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=6.25e-5)
        losses = []
        for _ in range(4):
            loss = model.train()(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(round(loss.item(), 5))
        found[f"losses, {name}"] = losses
    return found


def peak_gflops(dtype: torch.dtype) -> float:
    """What this machine's matrix products reach."""
    x = torch.randn(2048, 2048).to(dtype)
    rates = []
    for _ in range(5):
        began = time.monotonic()
        x @ x
        rates.append(2 * 2048**3 / (time.monotonic() - began) / 1e9)
    return max(rates)


def measured(job: dict[str, Any]) -> dict[str, float] | None:
    """One measurement in a fresh process; None where it died."""
    line = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def table(cells: dict[str, dict[str, Any]]) -> str:
    """A row a system, a column a job: examples a second (times the peer's in fp32), MiB."""
    jobs = list(cells)
    lines = [["", *jobs], ["---", *("---" for _ in jobs)]]
    for system in SYSTEMS:
        row = [system]
        for job in jobs:
            cell, base = cells[job].get(system), cells[job].get("transformers fp32")
            if cell is None:
                row.append("–")
                continue
            ratio = f" ({cell['speed'] / base['speed']:.1f} ×)" if base else ""
            row.append(f"{cell['speed']:.2f}{ratio}, {cell['memory']:,.0f} MiB")
        lines.append(row)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--short-batch", type=int, default=16)
    parser.add_argument("--long-batch", type=int, default=8)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        job = json.loads(options.child)
        if job["task"] == "agreement":
            print(json.dumps(agreement(job)))
            return
        with tempfile.TemporaryDirectory() as folder:
            measure = fine_tuning if job["task"] == "fine-tuning" else prediction
            speed, memory = measure(job, Path(folder))
        print(json.dumps({"speed": speed, "memory": memory}))
        return

    shared = {"layers": options.layers, "width": options.width}
    peaks = {name: peak_gflops(kind) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    same = measured({"task": "agreement", **shared})
    print(f"machine: {machine}, GFLOP/s of matrix products: {peaks}\nagreement: {same}", flush=True)
    jobs = {
        f"{task}, {length}": {"task": task, "length": length, "batch": batch}
        for task in ("fine-tuning", "prediction")
        for length, batch in (("trec", options.short_batch), ("512", options.long_batch))
    }
    runs: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in jobs}
    for number in range(options.rounds):
        for name, job in jobs.items():
            for system, how in SYSTEMS.items():
                if job["task"] == "prediction" and how.get("lm_weight"):
                    continue  # what is predicted does not depend on it
                steps = options.steps if job["length"] == "trec" else max(1, options.steps // 4)
                found = measured({**job, **how, **shared, "steps": steps})
                if found is not None:
                    runs[name].setdefault(system, []).append(found)
                print(f"round {number + 1}, {name}, {system}: {found}", file=sys.stderr, flush=True)
    cells = {
        name: {
            system: {key: statistics.median(one[key] for one in of) for key in ("speed", "memory")}
            for system, of in found.items()
        }
        for name, found in runs.items()
    }
    if options.output:
        facts = {"machine": machine, "peaks": peaks, "agreement": same, "medians": cells, "runs": runs}
        options.output.write_text(json.dumps(facts, indent=1))
    print(table(cells))


if __name__ == "__main__":
    main()
