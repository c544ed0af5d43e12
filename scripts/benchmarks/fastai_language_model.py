"""Training an AWD-LSTM language model: fastai's `language_model_learner` beside nlptl's trainer as `pretrain` runs it.

Both train a new model of 400/1152/3 on the same windows of the same token ids in the same order, the first steps not
counted, each by its own defaults: fastai with `fit_one_cycle` at its rate, nlptl by the recipe of its ULMFiT family,
against sampled candidates and in bf16 where the hardware has it. Rows without sampling, and without bf16, tell what
each of the two is worth. After the last step every model is measured on the same held-out text, in fp32 on the full
softmax; `unigram loss` in the JSON is what the words' frequencies in the training text alone reach there.

needs: pip install ".[benchmarks]"
usage: python scripts/benchmarks/fastai_language_model.py --data TEXTS --output lm.json [--rounds 5]
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from awd_lstm import Size, add_size_options, encoder_flops, size
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

WORDS_COUNTED = 4_000_000  # of the text, for the vocabulary
FIRST_WORD = 2  # after the unknown word and padding
ROWS_MEASURED = 8  # at a time

FASTAI = "fastai"
SYSTEMS = (
    System(FASTAI, {"system": "fastai"}, FASTAI),
    System("nlptl", {"system": "nlptl"}, FASTAI),
    System("nlptl, full softmax", {"system": "nlptl", "candidates": 0}, FASTAI),
    System("nlptl, full softmax, fp32", {"system": "nlptl", "candidates": 0, "precision": "fp32"}, FASTAI),
)


def prepared(data: str | None, vocabulary: int, batch: int, bptt: int, steps: int, file: str) -> Figures:
    """Write the ids of the training and of the held-out text; what is known of them."""
    train, held_out = batch * bptt * steps + 1, batch * bptt + 1
    if data is None:  # words as frequent as those of English, without any order
        share = 1 / (np.arange(vocabulary - FIRST_WORD) + 2.7)
        draw = np.random.default_rng(0)
        ids = FIRST_WORD + draw.choice(len(share), train + held_out, p=share / share.sum())
    else:
        ids = _ids_of_text(data, vocabulary, train + held_out)
    np.save(file, ids.astype(np.int64))
    counts = np.bincount(ids[:train], minlength=vocabulary) + 1
    unigram = -np.log(counts / counts.sum())[ids[train:]].mean()
    return {"unigram loss": float(unigram), "unknown": float((ids == 0).mean()), "distinct": len(set(ids))}


def _ids_of_text(data: str, vocabulary: int, needed: int) -> np.ndarray:
    """White-space words from the beginning of the texts, the rarer ones unknown (0)."""
    from nlptl.data.lm_text import find_lm_text

    words: list[str] = []
    for text in find_lm_text([data], offline=True):
        words += text.split()
        if len(words) >= max(needed, WORDS_COUNTED):
            break
    if len(words) < needed:
        raise ValueError(f"{data} has {len(words):,} words, and {needed:,} are needed")
    common = Counter(words).most_common(vocabulary - FIRST_WORD)
    ids = {word: number for number, (word, _) in enumerate(common, start=FIRST_WORD)}
    return np.asarray([ids.get(word, 0) for word in words[:needed]])


def training(
    system: str,
    file: str,
    vocabulary: int,
    batch: int,
    bptt: int,
    warmup: int,
    steps: int,
    size: Size,
    **how: Any,
) -> Figures:
    """Tokens a second, MiB at the peak, and the loss on the held-out text after the last step."""
    train, held_out = np.split(np.load(file), [batch * bptt * (warmup + steps) + 1])
    windows = {"rows": batch, "length": bptt, "warmup": warmup, "steps": steps}
    if system == FASTAI:
        import language_model_by_fastai as trainer
    else:
        import language_model_by_nlptl as trainer
    logits, trained = trainer.train(train, vocabulary, size, **windows, **how)
    seconds, scored = trained.pop("seconds"), trained.pop("scored")
    tokens = batch * bptt * steps
    flops = 3 * tokens * (encoder_flops(size) + 2 * size["embedding"] * scored)
    figures = {"speed": tokens / seconds, "memory": peak_memory(), "gflops": flops / seconds / 1e9, **trained}
    return {**figures, "loss": held_out_loss(logits, held_out, batch)}


def held_out_loss(logits: Callable[[Any], Any], ids: np.ndarray, rows: int) -> float:
    """Nats a token over the full softmax, in fp32, each row from an empty state."""
    import torch
    import torch.nn.functional as F

    inputs, targets = (torch.from_numpy(part).view(rows, -1) for part in (ids[:-1], ids[1:]))
    total = 0.0
    with torch.inference_mode():
        for x, y in zip(inputs.split(ROWS_MEASURED), targets.split(ROWS_MEASURED), strict=True):
            total += F.cross_entropy(logits(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / targets.numel()


def main() -> None:
    """Measure, and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--data", help="text files or a data set; random ids by default")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[60000, 9000], metavar="WORDS")
    for name, value in {"batch": 64, "bptt": 72, "warmup": 3, "steps": 12}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} by default")
    add_size_options(parser)
    options = parser.parse_args()
    shape = {"batch": options.batch, "bptt": options.bptt}
    with tempfile.TemporaryDirectory() as folder:
        texts, jobs = {}, []
        for vocabulary in options.vocabularies:
            name, file = f"{vocabulary:,} words", str(Path(folder) / f"{vocabulary}.npy")
            all_steps = options.warmup + options.steps
            texts[name] = in_child(
                prepared, data=options.data, vocabulary=vocabulary, steps=all_steps, file=file, **shape
            )
            if "failed" in texts[name]:
                parser.error(texts[name]["failed"])
            values = {"file": file, "vocabulary": vocabulary, "size": size(options), **shape}
            values |= {"warmup": options.warmup, "steps": options.steps}
            jobs.append(Job(name, "tokens a second", training, values, SYSTEMS))
        compare(jobs, options, packages=["fastai"], texts=texts)


if __name__ == "__main__":
    main()
