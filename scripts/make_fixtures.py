"""Freeze tiny models of every family, with what they answer, for the tests that tomorrow's version still loads them.

usage: python scripts/make_fixtures.py tests/fixtures/format-1

A folder that is there stays as it is: a new format of models gets a folder of its own beside it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import nlptl
from nlptl.commands.finetune import finetune
from nlptl.commands.invocation import Invocation
from nlptl.commands.pretrain import pretrain
from nlptl.config import FinetuneConfig, PretrainConfig, validated
from nlptl.families import FAMILIES
from nlptl.pretrained.models import check_model_folder
from nlptl.training.progress import Reporter

TEXTS = ["the soup was warm, and the bread too.", "never again!", "zebras ate my café menu"]
RECORDED = 8  # logits of a token, or numbers of its vector
SHARED = {"device": "cpu", "precision": "fp32", "batch_size": 4}
PRETRAIN = {"size": "tiny", "vocab_size": 330, "bptt": 16, "epochs": 1}
SIZES: dict[str, dict[str, Any]] = {
    "wordvectors": {"architecture": {"embedding_size": 8}, "epochs": 3},
    "elmo": {"architecture": {"projection_size": 6, "cell_size": 10}, "sampled_softmax": 0},
    "ulmfit": {"architecture": {"embedding_size": 8, "hidden_size": 12}, "sampled_softmax": 0},
    "gpt": {"architecture": {"n_embd": 8, "n_positions": 32}, "sampled_softmax": 0},
    "transformer": {"architecture": {"width": 8, "feed_forward_width": 16, "max_positions": 32}},
}


def reviews() -> list[tuple[str, str]]:
    """Made-up reviews of meals, (text, label)."""
    draw = random.Random(0)
    meals = ("the soup", "my lunch", "this cake", "her bread", "the tea")
    verdicts = {"good": ("was warm", "tastes of summer", "came at once"), "bad": ("was cold", "is a brick")}
    rows = []
    for number in range(80):
        label = ("good", "bad")[number % 2]
        sentences = [f"{draw.choice(meals)} {draw.choice(verdicts[label])}." for _ in range(3)]
        rows.append((" ".join(sentences), label))
    return rows


def answers(folder: Path) -> list[list[float]]:
    """What the model of a folder answers to each of `TEXTS` alone.

    Returns:
        Of a classifier the logits; of a language model the last token's logits, or its vector, as far as `RECORDED`.
    """
    found = check_model_folder(folder)
    tokenizer = found.load_tokenizer()
    model = found.model_class.from_pretrained(found.path).eval()
    rows = []
    for text in TEXTS:
        with torch.inference_mode():
            output = model(**tokenizer(text, return_tensors="pt"))
        answer = output.last_hidden_state if "last_hidden_state" in output else output.logits
        rows.append((answer[0] if found.is_classifier else answer[0, -1, :RECORDED]).tolist())
    return rows


def freeze(family: str, texts: Path, data: Path, folder: Path) -> None:
    """Train a language model and a classifier of a family as the commands do, and keep the two models alone."""
    invocation = Invocation(reporter=Reporter(True))
    with tempfile.TemporaryDirectory() as place:
        lm, run = Path(place) / "lm", Path(place) / "run"
        begun = {**SHARED, **PRETRAIN, **SIZES[family], "family": family, "text": [str(texts)]}
        pretrain(validated(PretrainConfig, {**begun, "output": str(lm)}), invocation)
        tuned = {
            **SHARED,
            "model": str(lm),
            "data": str(data),
            "lm_tuning": False,
            "epochs": 2,
            "learning_rate": 0.02,
        }
        finetune(validated(FinetuneConfig, {**tuned, "output": str(run)}), invocation)
        recorded = {}
        for name, source in (("language-model", lm), ("classifier", run)):
            (folder / name).mkdir(parents=True)
            for file in sorted((source / "model").iterdir()):
                if file.suffix in (".json", ".safetensors", ".txt"):
                    (folder / name / file.name).write_bytes(file.read_bytes())
            recorded[name] = answers(folder / name)
    (folder / "answers.json").write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    target = Path(sys.argv[1])
    if target.exists():
        raise SystemExit(f"{target} is there, and frozen")
    torch.set_num_threads(1)
    nlptl.register_families()
    with tempfile.TemporaryDirectory() as place:
        texts, data = Path(place) / "texts.txt", Path(place) / "data.jsonl"
        rows = reviews()
        texts.write_text("".join(f"{text}\n" for text, _ in rows), encoding="utf-8")
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows[:40]]
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for family in FAMILIES:
            freeze(family, texts, data, target / family)


if __name__ == "__main__":
    main()
