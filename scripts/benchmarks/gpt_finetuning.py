"""GPT-1 at its full size: fine-tuning and prediction by nlptl beside `transformers`, on one machine in one run.

The peer is `OpenAIGPTForSequenceClassification` under the plain `Trainer`. Weights and token ids are random, because
speed does not depend on them; texts are as long as TREC's questions, or have 512 tokens. Systems take turns, each
measurement in a process of its own, so that its peak of memory is its own. Of training one pass over the batches is
not counted, the next one is. What both compute is compared too: logits, and losses over some steps without dropout.

The peer needs 20 GB for 8 texts of 512 tokens: a measurement that dies is reported, and not tried again.

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
from typing import TYPE_CHECKING, Any

from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

if TYPE_CHECKING:
    import torch
    from stopwatch import Stopwatch

    from nlptl.strategies.examples import Examples

# Twentieths of TREC's 5,452 training questions: words and signs, and two marks.
TREC_LENGTHS = [7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 15, 15, 16, 18, 19, 23]
LONG, VOCABULARY, CLASSES = 512, 40478, 6
PREDICTED = 4  # batches predicted for each step of training
SYSTEMS = tuple(
    System(
        f"{name}, {precision}",
        {"peer": peer, "precision": precision, "lm_weight": weight},
        f"transformers, {precision}",
    )
    for precision in ("fp32", "bf16")
    for name, peer, weight in (
        ("transformers", True, 0.0),
        ("nlptl", False, 0.0),
        ("nlptl with the language model's loss", False, 0.5),
    )
)
Values = dict[str, Any]


def texts(lengths: Sequence[int], count: int, seed: int = 0) -> Examples:
    """Random ids; each of the lengths as often as the others, in random order."""
    draw = np.random.default_rng(seed)
    sizes = draw.permutation(np.resize(lengths, count))
    ids = [draw.integers(1, VOCABULARY, size) for size in sizes]
    encodings = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]
    return Examples(encodings, draw.integers(0, CLASSES, count))


def build(job: Job, peer: bool, **values: Any) -> Any:
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


def fine_tuning(job: Job) -> dict[str, float]:
    """Examples a second, MiB at the peak."""
    watch, train = Stopwatch(job["steps"]), texts(job["lengths"], job["batch"] * job["steps"])
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        (train_peer if job["peer"] else train_own)(job, train, watch, Path(folder))
    seconds = watch.ends[-1] - watch.ends[-1 - watch.steps]
    return {"speed": len(train) / seconds, "memory": peak_memory_mb(CPU)}


def train_peer(job: Job, train: Examples, watch: Stopwatch, folder: Path) -> None:
    """As the documentation of the Trainer has it, on the CPU."""
    values = {
        "per_device_train_batch_size": job["batch"],
        "bf16": job["precision"] == "bf16",
        "use_cpu": True,
    }
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    arguments = TrainingArguments(str(folder), **values, **quiet)
    Trainer(build(job, peer=True), arguments, collate, train, callbacks=[watch]).train()


def train_own(job: Job, train: Examples, watch: Stopwatch, folder: Path) -> None:
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


def prediction(job: Job) -> dict[str, float]:
    """Examples a second, MiB at the peak."""
    rows = texts(job["lengths"], PREDICTED * job["batch"] * job["steps"]).encodings
    model = build(job, job["peer"]).eval()

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
    return {"speed": len(rows) / (time.monotonic() - began), "memory": peak_memory_mb(CPU)}


def agreement(job: Job) -> dict[str, Any]:
    """The largest differences of logits from the peer's in fp32, and of losses, from the same weights, no dropout."""
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    peer, own = build(job, peer=True, **still), build(job, peer=False, **still, classifier_dropout=0.0)
    own.transformer.load_state_dict(peer.transformer.state_dict())
    own.head.load_state_dict({"weight": peer.score.weight.detach(), "bias": torch.zeros(CLASSES)})
    own.head.bias.requires_grad_(False)  # the peer has none
    found: dict[str, Any] = {}
    for kind, batch in (("trec", collate(texts(job["lengths"], 64))), ("512", collate(texts([LONG], 2)))):
        with torch.inference_mode():
            expected = peer.eval()(**batch).logits
            found[f"logits, {kind}, spread"] = float(expected.std())
            for name, how in SYSTEMS.items():
                if how["lm_weight"]:
                    continue
                with torch.autocast("cpu", torch.bfloat16, enabled=how["precision"] == "bf16"):
                    logits = (peer if how["peer"] else own.eval())(**batch).logits.float()
                found[f"logits, {kind}, {name}"] = float((logits - expected).abs().max())
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


def machine(job: Job) -> dict[str, Any]:
    """What was measured on, and the most GFLOP/s that its matrix products reach."""
    found = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    found |= {"kernels": torch.backends.cpu.get_cpu_capability(), "transformers": transformers.__version__}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        x, rates = torch.randn(2048, 2048).to(dtype), []
        for _ in range(8):
            began = time.perf_counter()
            x @ x
            rates.append(2 * 2048**3 / (time.perf_counter() - began) / 1e9)
        found[f"GFLOP/s, {name}"] = round(max(rates))
    return found


def real_lengths(job: Job) -> list[int]:
    """Twentieths of the texts of some data, counted as `TREC_LENGTHS` are, within the peer's context."""
    from nlptl.data.datasets import Columns, load_rows

    rows, _ = load_rows(job["data"], columns=Columns(), labels="optional", offline=True)
    counts = sorted(min(len(re.findall(r"\w+|[^\w\s]", text)) + 2, LONG) for text in rows["text"])
    return [counts[int((part + 0.5) / 20 * len(counts))] for part in range(20)]


def in_child(task: Any, **job: Any) -> Any:
    """What a task returns in a fresh process; where it died, {"failed": how}.

    A process begins with its parent's peak of memory as its own, so this one does nothing but wait.
    """
    line = [sys.executable, __file__, "--child", json.dumps({**job, "task": task.__name__})]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    killed = f"killed by signal {-done.returncode}, memory ran out?"
    return {"failed": killed if done.returncode < 0 else last}


def child(job: Job) -> None:
    """One task; where memory runs out, it is this process that the kernel should end."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    tasks = {task.__name__: task for task in (fine_tuning, prediction, agreement, machine, real_lengths)}
    print(json.dumps(tasks[job["task"]](job)))


def medians(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of each system's rounds: speed, memory, and their ratios to the peer's in the same precision and round."""
    cells: dict[str, dict[str, Any]] = {}
    for system, rounds in runs.items():
        peers = runs[f"transformers, {SYSTEMS[system]['precision']}"]
        cells[system] = {key: how for run in rounds for key, how in run.items() if key == "failed"}
        for key in ("speed", "memory") if not cells[system] else ():
            cells[system][key] = statistics.median(run[key] for run in rounds)
            ratios = [run[key] / peer[key] for run, peer in zip(rounds, peers, strict=False) if key in peer]
            cells[system][f"{key} ratio"] = statistics.median(ratios) if ratios else None
    return cells


def table(columns: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row a system, a column a job: examples a second and MiB, each with its ratio to the peer's."""
    lines = [["examples a second; MiB", *columns], ["---"] * (len(columns) + 1)]
    for system in SYSTEMS:
        cells = [told(found.get(system, {"failed": "–"})) for found in columns.values()]
        lines.append([system, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def told(cell: dict[str, Any]) -> str:
    if "failed" in cell:
        return str(cell["failed"])
    ratios = [f" ({cell[key]:.2f} ×)" if cell[key] else "" for key in ("speed ratio", "memory ratio")]
    return f"{cell['speed']:.4g}{ratios[0]}; {cell['memory']:,.0f}{ratios[1]}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write every figure here after each round, as JSON")
    parser.add_argument("--data", help="take the lengths of these texts in place of TREC's")
    numbers = {"rounds": 5, "steps": 8, "short-batch": 16, "long-steps": 1, "long-batch": 8}
    for name, value in {**numbers, "layers": 12, "width": 768}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} by default")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    size = {"layers": options.layers, "width": options.width}
    short = in_child(real_lengths, data=options.data) if options.data else TREC_LENGTHS
    if "failed" in short:
        parser.error(f"--data {options.data}: {short['failed']}")
    kinds = {
        "short": {**size, "lengths": short, "batch": options.short_batch, "steps": options.steps},
        str(LONG): {**size, "lengths": [LONG], "batch": options.long_batch, "steps": options.long_steps},
    }
    facts = {"machine": in_child(machine), "agreement": in_child(agreement, **kinds["short"]), "jobs": kinds}
    for name in ("machine", "agreement"):
        print(f"{name}: {json.dumps(facts[name])}\n", flush=True)
    jobs = {(task, kind): f"{task.__name__}, {kind}" for task in (fine_tuning, prediction) for kind in kinds}
    runs: dict[str, dict[str, list[Any]]] = {job: {} for job in jobs.values()}
    for number in range(options.rounds):
        for ((task, kind), job), (system, how) in itertools.product(jobs.items(), SYSTEMS.items()):
            if task is prediction and how["lm_weight"]:
                continue  # that loss plays no part in it
            done = runs[job].setdefault(system, [])
            if not any("failed" in run for run in done):
                done.append(in_child(task, **kinds[kind], **how))
                print(f"round {number + 1}, {job}, {system}: {done[-1]}", file=sys.stderr, flush=True)
        facts |= {"runs": runs, "medians": {job: medians(found) for job, found in runs.items()}}
        if options.output:
            options.output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(table(facts["medians"]))


if __name__ == "__main__":
    main()
