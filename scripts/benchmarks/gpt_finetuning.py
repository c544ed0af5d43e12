"""GPT-1 at its full size: fine-tuning and prediction by nlptl beside `transformers`, on one machine in one run.

The peer is `OpenAIGPTForSequenceClassification` under the plain `Trainer`. Weights and token ids are random, because
speed does not depend on them; texts are as long as TREC's questions, have 512 tokens, or are as long as those of
`--data` (IMDb's reviews, say), up to 512 tokens: the peer pads batches as they come, nlptl forms them of texts of like
length. Of training one pass over the batches is not counted, the next one is. What both compute is compared too:
logits, and losses over some steps without dropout. The peer needs 11 GB for 8 texts of 512 tokens.

usage: python scripts/benchmarks/gpt_finetuning.py --output gpt.json [--rounds 5] [--steps 8] [--data FILE]
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory
from stopwatch import Stopwatch
from torch.utils.data import DataLoader
from transformers import OpenAIGPTConfig, OpenAIGPTForSequenceClassification, Trainer, TrainingArguments

from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.family import GptFamily
from nlptl.strategies.examples import Examples
from nlptl.training.batching import LengthBuckets, padded
from nlptl.training.inference import class_probabilities
from nlptl.training.precision import settle
from nlptl.training.progress import Reporter
from nlptl.training.runs import TrainingPlan
from nlptl.training.trainers import ClassifierTrainer

# Twentieths of TREC's 5,452 training questions: words and signs, and two marks.
TREC_LENGTHS = [7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 15, 15, 16, 18, 19, 23]
LONG, VOCABULARY, CLASSES = 512, 40478, 6
PREDICTED = 4  # batches predicted for each step of training
SYSTEMS = tuple(
    System(
        f"{name}, {precision}",
        {"peer": peer, "precision": precision, "lm_weight": weight},
        "transformers, fp32",  # as the peer comes, whatever the precision
    )
    for precision in ("fp32", "bf16")
    for name, peer, weight in (
        ("transformers", True, 0.0),
        ("nlptl", False, 0.0),
        ("nlptl with the language model's loss", False, 0.5),
    )
)
CPU = torch.device("cpu")
Values = dict[str, Any]


def texts(lengths: Sequence[int], count: int, seed: int = 0) -> Examples:
    """Random ids; each of the lengths as often as the others, in random order."""
    draw = np.random.default_rng(seed)
    sizes = draw.permutation(np.resize(lengths, count))
    ids = [draw.integers(1, VOCABULARY, size) for size in sizes]
    encodings = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]
    return Examples(encodings, draw.integers(0, CLASSES, count))


def build(job: Values, peer: bool, **values: Any) -> Any:
    """The model of a system, with the dropouts that its users get."""
    torch.manual_seed(0)
    sizes = {"n_embd": job["width"], "n_layer": job["layers"], "n_head": max(1, job["width"] // 64)}
    shared = {**sizes, "vocab_size": VOCABULARY, "num_labels": CLASSES, "pad_token_id": 0}
    if peer:
        return OpenAIGPTForSequenceClassification(OpenAIGPTConfig(**{**shared, **values}))
    own = {**GptFamily.recipes["finetune"]["architecture"], "lm_weight": job.get("lm_weight", 0.0)}
    return GptForSequenceClassification(GptConfig(**{**shared, **own, **values}))


def collate(rows: Sequence[Any]) -> dict[str, torch.Tensor]:
    return padded(rows, 0)


def fine_tuning(**job: Any) -> Figures:
    """Examples a second, MiB at the peak."""
    watch, train = Stopwatch(2 * job["steps"]), texts(job["lengths"], job["batch"] * job["steps"])
    with tempfile.TemporaryDirectory() as folder:
        run = train_peer if job["peer"] else train_own
        seconds = watch.seconds(lambda: run(job, train, watch, Path(folder)), last=job["steps"])
    figures = {"speed": len(train) / seconds, "memory": peak_memory(), "precision": job["precision"]}
    return {**figures, "gflops": 3 * work(job, train) / seconds}


def train_peer(job: Values, train: Examples, watch: Stopwatch, folder: Path) -> None:
    """As the documentation of the Trainer has it, on the CPU."""
    values = {
        "per_device_train_batch_size": job["batch"],
        "bf16": job["precision"] == "bf16",
        "use_cpu": True,
    }
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    arguments = TrainingArguments(str(folder), **values, **quiet)
    Trainer(build(job, peer=True), arguments, collate, train, callbacks=[watch]).train()


def train_own(job: Values, train: Examples, watch: Stopwatch, folder: Path) -> None:
    """As `nlptl finetune` does it, by the family's recipe."""
    recipe = GptFamily.recipes["finetune"]
    optimizer = {**recipe["optimizer"]}
    plan = TrainingPlan(
        stage="classifier",
        output=folder,
        epochs=3,
        optimizer=optimizer.pop("name"),
        device=CPU,
        precision=job["precision"],
        seed=0,
        checkpoint_minutes=math.inf,  # the peer writes none
        **{key: recipe[key] for key in ("learning_rate", "discriminative_decay", "schedule")},
        **optimizer,
    )
    buckets = LengthBuckets(train.lengths, job["batch"], plan.seed)
    batches: DataLoader[Any] = DataLoader(train, batch_sampler=buckets, collate_fn=collate)
    hooks = {"callbacks": [watch], "on_epoch": buckets.set_epoch, "reporter": Reporter(quiet=True)}
    trainer = ClassifierTrainer(
        build(job, False), plan, batches, evaluate=None, save=lambda path: None, **hooks
    )
    trainer.run(resume=False)


def prediction(**job: Any) -> Figures:
    """Examples a second, MiB at the peak."""
    examples = texts(job["lengths"], PREDICTED * job["batch"] * job["steps"])
    rows, model = examples.encodings, build(job, job["peer"]).eval()
    if not job["peer"]:
        settle(model, job["precision"])  # as `nlptl predict` loads it

    @torch.inference_mode()
    def predict(encodings: Sequence[Any]) -> None:
        if not job["peer"]:
            class_probabilities(model, encodings, job["precision"])
            return
        with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16"):
            for start in range(0, len(encodings), job["batch"]):
                model(**collate(encodings[start : start + job["batch"]])).logits.softmax(1)

    predict(rows[: job["batch"]])
    began = time.monotonic()
    predict(rows)
    seconds = time.monotonic() - began
    figures = {"speed": len(rows) / seconds, "memory": peak_memory(), "precision": job["precision"]}
    return {**figures, "gflops": work(job, examples) / seconds}


def work(job: Values, examples: Examples) -> float:
    """GFLOP of the matrix products of one forward pass over the texts, padding left out."""
    width, layers = job["width"], job["layers"]
    softmax = 2 * width * VOCABULARY if job["lm_weight"] else 0
    blocks = sum(
        length * (layers * (24 * width**2 + 2 * width * (length + 1)) + softmax)
        for length in examples.lengths
    )
    return blocks / 1e9


def agreement(**job: Any) -> Figures:
    """The largest differences of logits from the peer's in fp32, and of losses, from the same weights, no dropout."""
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    peer, own = build(job, peer=True, **still), build(job, peer=False, **still, classifier_dropout=0.0)
    own.transformer.load_state_dict(peer.transformer.state_dict())
    own.head.load_state_dict({"weight": peer.score.weight.detach(), "bias": torch.zeros(CLASSES)})
    own.head.bias.requires_grad_(False)  # the peer has none
    found: Figures = {}
    for kind, batch in (("trec", collate(texts(job["lengths"], 64))), ("512", collate(texts([LONG], 2)))):
        with torch.inference_mode():
            expected = peer.eval()(**batch).logits
            found[f"logits, {kind}, spread"] = float(expected.std())
            for system in SYSTEMS:
                how = system.values
                if how["lm_weight"] or how["precision"] not in job["precisions"]:
                    continue
                with torch.autocast("cpu", torch.bfloat16, enabled=how["precision"] == "bf16"):
                    logits = (peer if how["peer"] else own.eval())(**batch).logits.float()
                found[f"logits, {kind}, {system.name}"] = float((logits - expected).abs().max())
    losses: dict[str, list[float]] = {"transformers": [], "nlptl": []}
    for name, model in (("transformers", peer), ("nlptl", own)):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=6.25e-5, fused=True)
        for step in range(5):
            loss = model.train()(**collate(texts(job["lengths"], job["batch"], seed=step))).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[name].append(loss.item())
    apart = max(abs(one - other) for one, other in zip(*losses.values(), strict=True))
    return {**found, "losses": losses, "losses, largest difference": apart}


def real_lengths(data: str) -> list[int]:
    """Twentieths of the texts of some data, counted as `TREC_LENGTHS` are, within the peer's context."""
    from nlptl.data.datasets import Columns, load_rows

    rows, _ = load_rows(data, columns=Columns(), labels="optional", offline=True)
    counts = sorted(min(len(re.findall(r"\w+|[^\w\s]", text)) + 2, LONG) for text in rows["text"])
    return [counts[int((part + 0.5) / 20 * len(counts))] for part in range(20)]


def main() -> None:
    """Measure, and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--data", help="texts that are as long as these, too")
    numbers = {"steps": 8, "short-batch": 16, "long-steps": 1, "long-batch": 8, "data-steps": 4}
    for name, value in {**numbers, "layers": 12, "width": 768}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} by default")
    options = parser.parse_args()
    size = {"layers": options.layers, "width": options.width}
    kinds: dict[str, Values] = {
        "short": {**size, "lengths": TREC_LENGTHS, "batch": options.short_batch, "steps": options.steps},
        str(LONG): {**size, "lengths": [LONG], "batch": options.long_batch, "steps": options.long_steps},
    }
    if options.data:
        lengths = in_child(real_lengths, data=options.data)
        if "failed" in lengths:
            parser.error(f"--data {options.data}: {lengths['failed']}")
        kinds["data"] = {
            **size,
            "lengths": lengths,
            "batch": options.long_batch,
            "steps": options.data_steps,
        }
    # Where bf16 is not to be measured, it may take minutes.
    chosen = {
        system.values["precision"] for system in SYSTEMS if system.name in (options.systems or [system.name])
    }
    agreed = in_child(agreement, **kinds["short"], precisions=sorted(chosen))
    print(f"agreement: {json.dumps(agreed)}\n", flush=True)
    # The loss of the language model plays no part in prediction.
    systems = {fine_tuning: SYSTEMS, prediction: [s for s in SYSTEMS if not s.values["lm_weight"]]}
    jobs = [
        Job(f"{task.__name__}, {kind}", "examples a second", task, values, systems[task])
        for task in systems
        for kind, values in kinds.items()
    ]
    compare(jobs, options, agreement=agreed)


if __name__ == "__main__":
    main()
