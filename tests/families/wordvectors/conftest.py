"""Texts, a tokenizer and training jobs that several tests of word vectors use."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlptl.families.wordvectors.family import WordVectorsFamily
from nlptl.families.wordvectors.tokenization import WordVectorsTokenizer
from nlptl.training.language_modeling import (
    HeldOut,
    LanguageModelJob,
    language_model_figures,
    next_token_batch,
)
from nlptl.training.progress import Reporter
from nlptl.training.runs import TrainingPlan
from nlptl.training.windows import Windows

TOPICS = (
    ("cook", "boil", "fry", "soup", "onion", "salt", "pan", "taste"),
    ("sail", "row", "boat", "harbour", "tide", "mast", "wave", "drift"),
)


@pytest.fixture(scope="session", autouse=True)
def registered() -> None:
    """The Auto classes know the family."""
    WordVectorsFamily().register()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """400 texts, each of one of two topics and of words that both have."""
    draw = random.Random(0)
    made = []
    for number in range(400):
        words = draw.choices(TOPICS[number % 2], k=draw.randint(4, 12))
        made.append(" ".join(word if draw.random() < 0.8 else draw.choice(("the", "a")) for word in words))
    return made


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> WordVectorsTokenizer:
    """The words of the texts."""
    trained = WordVectorsFamily().train_tokenizer("word", texts, 1000)
    assert isinstance(trained, WordVectorsTokenizer)
    return trained


@pytest.fixture
def job(texts: list[str], tokenizer: WordVectorsTokenizer) -> Callable[..., LanguageModelJob]:
    """Builds the job of a run in `folder`, of eight steps; `plan` changes its plan and `own` the job."""
    family = WordVectorsFamily()

    def build(
        folder: Path, reporter: Reporter | None = None, *, resume: bool = False, **plan: Any
    ) -> LanguageModelJob:
        folder.mkdir(exist_ok=True)
        encoder = family.corpus_encoder(tokenizer)
        ids = np.concatenate([np.asarray(row, dtype=np.uint16) for row in encoder.encode(texts)])
        windows = Windows(ids, rows=8, length=-(-len(ids) // 32))
        torch.manual_seed(0)
        model = family.language_model_class(family.build_config("tiny", tokenizer, False, {}))

        def save(path: Path) -> None:
            model.save_pretrained(path)
            tokenizer.save_pretrained(path)

        values: dict[str, Any] = {
            "stage": "language model",
            "output": folder,
            "epochs": 2,
            "learning_rate": 0.05,
            "discriminative_decay": 1.0,
            "schedule": "linear",
            "optimizer": "adamw",
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
            "gradient_clip": 0.0,
            "device": torch.device("cpu"),
            "precision": "fp32",
            "seed": 0,
            "checkpoint_minutes": 0.0,
            "log_steps": 1,
        }
        return LanguageModelJob(
            model=model,
            tokenizer=tokenizer,
            texts=texts,
            windows=windows,
            held_out=HeldOut(windows, characters=1, tokens=len(ids)),
            plan=TrainingPlan(**{**values, **plan}),
            collate=next_token_batch,
            measure=next_token_batch,
            figures=language_model_figures,
            counts=torch.from_numpy(np.bincount(ids, minlength=len(tokenizer)).astype(np.int64)),
            candidates=5,
            save=save,
            reporter=reporter or Reporter(quiet=True),
            resume=resume,
        )

    return build
