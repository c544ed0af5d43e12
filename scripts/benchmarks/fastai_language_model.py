"""Training an AWD-LSTM language model: fastai's `language_model_learner` beside nlptl's trainer as `pretrain` runs it.

Both train a new model of 400/1152/3 on the same windows of the same token ids in the same order, the first steps not
counted, each by its own defaults: fastai with `fit_one_cycle` at its rate, nlptl by the recipe of its ULMFiT family,
against sampled candidates and in bf16 where the hardware has it. Rows without sampling, and without bf16, tell what
each of the two is worth. After the last step every model is measured on the same held-out text, in fp32 on the full
softmax; `unigram loss` in the JSON is what the words' frequencies in the training text alone reach there.

usage: python scripts/benchmarks/fastai_language_model.py --data TEXTS --output lm.json [--rounds 5]
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awd_lstm import add_size_options, encoder_flops, fastai_config, fastai_stopwatch, own_sizes, size
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

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
    import numpy as np

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
    import numpy as np

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
    size: dict[str, int],
    candidates: int | None = None,
    precision: str = "auto",
) -> Figures:
    """Tokens a second, MiB at the peak, and the loss on the held-out text after the last step."""
    import numpy as np
    import torch

    ids = np.load(file)
    train, held_out = np.split(ids, [batch * bptt * (warmup + steps) + 1])
    windows = {"rows": batch, "length": bptt, "warmup": warmup, "steps": steps}
    if system == "fastai":
        logits, seconds = _by_fastai(train, vocabulary, size, **windows)
        precision, scored = "fp32", vocabulary
    else:
        logits, seconds, precision, scored = _by_nlptl(
            train, vocabulary, size, candidates, precision, **windows
        )
    tokens = batch * bptt * steps
    flops = 3 * tokens * (encoder_flops(size) + 2 * size["embedding"] * scored)
    return {
        "speed": tokens / seconds,
        "memory": peak_memory(),
        "loss": _loss(logits, torch.from_numpy(held_out), batch),
        "gflops": flops / seconds / 1e9,
        "precision": precision,
    }


def _by_fastai(
    ids: np.ndarray,
    vocabulary: int,
    size: dict[str, int],
    rows: int,
    length: int,
    warmup: int,
    steps: int,
) -> tuple[Callable[[Tensor], Tensor], float]:
    """As fastai's tutorials do it, from random weights, on one long text: logits, and seconds."""
    import torch
    from fastai.text.all import (
        AWD_LSTM,
        DataLoaders,
        LMDataLoader,
        LMTensorText,
        awd_lstm_lm_config,
        language_model_learner,
        set_seed,
    )

    set_seed(0)
    text = LMTensorText(torch.from_numpy(ids))
    loader = LMDataLoader([text], lens=[len(text)], bs=rows, seq_len=length, shuffle=True, drop_last=True)
    loaders = DataLoaders(loader, loader, device=torch.device("cpu"))
    loaders.vocab = [f"w{number}" for number in range(vocabulary)]
    config = fastai_config(awd_lstm_lm_config, size)
    learner = language_model_learner(loaders, AWD_LSTM, config=config, pretrained=False)
    watch = fastai_stopwatch(warmup + steps)
    with learner.no_bar(), learner.no_logging():
        seconds = watch.seconds(lambda: learner.fit_one_cycle(1, cbs=watch), last=steps)
    model = learner.model.eval()

    def logits(inputs: Tensor) -> Tensor:
        model.reset()
        scores: Tensor = model(inputs)[0]
        return scores

    return logits, seconds


def _by_nlptl(
    ids: np.ndarray,
    vocabulary: int,
    size: dict[str, int],
    candidates: int | None,
    precision: str,
    rows: int,
    length: int,
    warmup: int,
    steps: int,
) -> tuple[Callable[[Tensor], Tensor], float, str, int]:
    """As `nlptl pretrain --family ulmfit --size base` does it: logits, seconds, precision, words scored."""
    import torch
    from stopwatch import Stopwatch
    from torch.utils.data import DataLoader
    from transformers import set_seed

    from nlptl.commands.plans import training_plan
    from nlptl.config import PretrainConfig, validated, with_recipe
    from nlptl.families.ulmfit.configuration import UlmfitConfig
    from nlptl.families.ulmfit.family import UlmfitFamily
    from nlptl.families.ulmfit.modeling import UlmfitForCausalLM
    from nlptl.nn.softmax import CandidateSampler
    from nlptl.training.language_modeling import next_token_batch
    from nlptl.training.progress import Reporter
    from nlptl.training.trainers import LanguageModelTrainer
    from nlptl.training.windows import stream_windows

    given: dict[str, Any] = {"family": "ulmfit", "device": "cpu", "precision": precision, "epochs": 1}
    given |= {} if candidates is None else {"sampled_softmax": candidates}
    config = with_recipe(validated(PretrainConfig, given), UlmfitFamily.recipes["pretrain"])
    drawn = config.sampled_softmax or 0
    set_seed(config.seed)
    model = UlmfitForCausalLM(UlmfitConfig(vocab_size=vocabulary, **own_sizes(size), **config.architecture))
    counts = torch.bincount(torch.from_numpy(ids), minlength=vocabulary)
    UlmfitFamily().prepare_new(model, counts)
    windows = stream_windows(ids, rows, length, backward=False)
    if windows.rows != rows:
        raise ValueError("fewer than four windows a stream, of which nlptl would make fewer streams")
    sampler = CandidateSampler(counts, drawn) if drawn else None
    device, watch = torch.device("cpu"), Stopwatch(warmup + steps)
    with tempfile.TemporaryDirectory() as folder:
        plan = training_plan("language model", Path(folder), config, config)
        plan = dataclasses.replace(plan, checkpoint_minutes=math.inf)  # fastai writes none
        trainer = LanguageModelTrainer(
            model,
            plan,
            DataLoader(windows, batch_size=rows, shuffle=False, collate_fn=next_token_batch),
            evaluate=None,
            save=lambda path: None,
            reporter=Reporter(quiet=True),
            draw_candidates=None if sampler is None else lambda: sampler.draw(device),
            callbacks=[watch],
        )
        seconds = watch.seconds(lambda: trainer.run(resume=False), last=steps)
    model.eval()

    def logits(inputs: Tensor) -> Tensor:
        scores: Tensor = model(inputs).logits
        return scores

    return logits, seconds, plan.precision, drawn or vocabulary


def _loss(logits: Callable[[Tensor], Tensor], ids: Tensor, rows: int) -> float:
    """Nats a token over the full softmax, in fp32, each row from an empty state."""
    import torch
    import torch.nn.functional as F

    inputs, targets = ids[:-1].view(rows, -1), ids[1:].view(rows, -1)
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
