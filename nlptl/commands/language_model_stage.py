"""Training a language model on text, as `pretrain` does it and `finetune` before its classifier."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from nlptl.commands.invocation import Invocation
from nlptl.commands.plans import given, training_plan
from nlptl.config import LmTuningConfig, PretrainConfig, TrainingConfig
from nlptl.data.cache import cache_folder
from nlptl.data.corpora import (
    TokenCorpus,
    split_held_out,
    tokenise_corpus,
    training_windows,
    validation_windows,
)
from nlptl.data.lm_text import LmText
from nlptl.errors import DataError
from nlptl.families.base import Family
from nlptl.training.language_modeling import HeldOut, language_model_figures, train_language_model
from nlptl.training.models import LayeredModel
from nlptl.training.trainers import TrainingResult

HELD_OUT_TOKENS = 200_000


@dataclass(frozen=True)
class Corpora:
    """Tokenised text to train on and to measure with."""

    train: TokenCorpus
    held_out: TokenCorpus


def tokenised(
    text: LmText, held_out: LmText | None, tokenizer: PreTrainedTokenizerBase, invocation: Invocation
) -> Corpora:
    """Tokenise the text, or open what a former run with the same text and tokenizer left in the cache.

    Without held-out text a twentieth of the texts is kept apart.

    Raises:
        DataError: there is no text, or no token of it to predict.
    """
    key = _tokenizer_hash(tokenizer)
    if held_out is None:
        parts: list[tuple[str, LmText, Iterable[str]]] = [
            ("train", text, split_held_out(text, held_out=False)),
            ("held-out", text, split_held_out(text, held_out=True)),
        ]
    else:
        parts = [("whole", text, text), ("whole", held_out, held_out)]
    corpora = []
    for kind, source, texts in parts:
        name = hashlib.sha256(f"{kind} {source.fingerprint()} {key}".encode()).hexdigest()[:24]
        folder = cache_folder("corpora") / name
        corpora.append(_tokenise(texts, tokenizer, folder, invocation))
    if min(len(corpus.ids) for corpus in corpora) < 2:
        cause = "too little text to train on and to measure with"
        raise DataError(cause, f"in {', '.join(text.sources[:3]) or 'the training texts'}", "give more text")
    return Corpora(*corpora)


def train_stage(
    stage: str,
    folder: Path,
    family: Family,
    model: LayeredModel,
    tokenizer: PreTrainedTokenizerBase,
    corpora: Corpora,
    config: PretrainConfig | LmTuningConfig,
    run: TrainingConfig,
    invocation: Invocation,
    *,
    new: bool,
) -> tuple[TrainingResult, dict[str, float]]:
    """Train `model` on the corpora; the best by held-out loss is in `folder / "model"` afterwards.

    Args:
        config: of the stage; `run`: of the whole run (seed, device, precision, checkpoints, log).
        new: the model has not been trained before.

    Returns:
        What the training took, and the held-out figures of the model that was kept.
    """
    backward = getattr(model.config, "direction", "forward") == "backward"
    rows, length = given(config.batch_size, "batch_size"), given(config.bptt, "bptt")
    windows = training_windows(corpora.train, rows, length, backward)
    measured = validation_windows(corpora.held_out, rows, length, backward, HELD_OUT_TOKENS)
    held_out = HeldOut(measured, corpora.held_out.characters, len(corpora.held_out.ids))
    counts = torch.from_numpy(corpora.train.counts(model.config.vocab_size))
    if new:
        family.prepare_new(model, counts)
    collate = family.window_collate(model.config)
    plan = training_plan(stage, folder, config, run)

    def save(path: Path) -> None:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)

    result = train_language_model(
        model,
        windows,
        held_out,
        plan,
        collate=collate,
        save=save,
        reporter=invocation.reporter,
        resume=invocation.resume,
        counts=counts,
        candidates=given(config.sampled_softmax, "sampled_softmax"),
    )
    best = type(model).from_pretrained(folder / "model")
    return result, language_model_figures(best, held_out, collate, plan.device)


def _tokenise(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, folder: Path, invocation: Invocation
) -> TokenCorpus:
    reporter = invocation.reporter
    reporter.start("tokenising", None)

    def encode(batch: list[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(batch, return_attention_mask=False, verbose=False)["input_ids"]
        return ids

    def say(count: int, characters: int) -> None:
        reporter.advance(count, f"{count:,} texts, {characters / 1e6:.0f} million characters")

    try:
        return tokenise_corpus(texts, encode, len(tokenizer), folder, say)
    finally:
        reporter.finish()


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Of all that decides which ids a text gets."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in sorted(Path(folder).iterdir()):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def split_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """The held-out figures as CONTRACT names them."""
    return {key: figures[key] for key in ("tokens", "loss", "perplexity", "bits_per_character")}
