"""Training a language model on text, as `pretrain` does it and `finetune` before its classifier."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, set_seed

import nlptl.commands.run_folder as run_folder
from nlptl import processes
from nlptl.cache import cache_folder
from nlptl.commands.invocation import Invocation
from nlptl.commands.plans import given, training_plan
from nlptl.config import FinetuneConfig, LmTuningConfig, PretrainConfig, TrainingConfig
from nlptl.data.corpora import SplitTexts, TokenCorpus, tokenise_corpus
from nlptl.data.lm_text import LmText
from nlptl.errors import DataError
from nlptl.families.base import Family
from nlptl.pretrained.models import ModelFolder
from nlptl.training.language_modeling import HeldOut, LanguageModelJob
from nlptl.training.models import LayeredModel
from nlptl.training.runs import TrainingResult
from nlptl.training.windows import CorpusEncoder

MEASURED_WHILE_TRAINING = 200_000  # tokens of the held-out text; the figures at the end are over all of it


@dataclass(frozen=True)
class Corpora:
    """Tokenised text to train on and to measure with.

    Attributes:
        texts: the training text before it was tokenised.
        vocabulary: how many tokens the model can predict.
        unknown: the token that stands for all others.
    """

    train: TokenCorpus
    held_out: TokenCorpus
    texts: Iterable[str]
    vocabulary: int
    unknown: int

    def unknown_share(self) -> float:
        """How much of the held-out text lies beyond the vocabulary."""
        counts = self.held_out.counts(self.vocabulary, self.unknown)
        return float(counts[self.unknown]) / len(self.held_out.ids)


def tokenised(
    family: Family,
    text: LmText,
    held_out: LmText | None,
    tokenizer: PreTrainedTokenizerBase,
    invocation: Invocation,
) -> Corpora:
    """Tokenise the text, or open what a former run with the same text and tokenizer left in the cache.

    Without held-out text a twentieth of the texts is kept apart.

    Raises:
        DataError: there is no text, or no token of it to predict.
    """
    key = _tokenizer_hash(tokenizer)
    if held_out is None:
        parts: list[tuple[str, LmText, Iterable[str]]] = [
            ("train", text, SplitTexts(text, held_out=False)),
            ("held-out", text, SplitTexts(text, held_out=True)),
        ]
    else:
        parts = [("whole", text, text), ("whole", held_out, held_out)]
    corpora = []
    for kind, source, texts in parts:
        name = hashlib.sha256(f"{kind} {source.fingerprint()} {key}".encode()).hexdigest()[:24]
        encoder = family.corpus_encoder(tokenizer)  # one a corpus, with the spellings of its own rare words
        corpora.append(_tokenise(texts, encoder, cache_folder("corpora") / name, invocation))
    if min(len(corpus.ids) for corpus in corpora) < 2:
        cause = "too little text to train on and to measure with"
        raise DataError(cause, f"in {', '.join(text.sources[:3]) or 'the training texts'}", "give more text")
    train, measured = corpora
    return Corpora(train, measured, parts[0][2], encoder.vocabulary, encoder.unknown)


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
    rows, length = given(config.batch_size, "batch_size"), given(config.bptt, "bptt")
    held_out = corpora.held_out
    measure = family.window_collate(model.config, tokenizer, training=False)

    def part(tokens: int) -> HeldOut:
        windows = family.windows(held_out.beginning(tokens), rows, length, tokenizer, model.config)
        return HeldOut(windows, held_out.characters, len(held_out.ids))

    counts = torch.from_numpy(corpora.train.counts(corpora.vocabulary, corpora.unknown))
    if new:
        family.prepare_new(model, counts)

    def save(path: Path) -> None:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)

    plan = training_plan(stage, folder, config, run)
    result = family.train_language_model(
        LanguageModelJob(
            model=model,
            tokenizer=tokenizer,
            texts=corpora.texts,
            windows=family.windows(corpora.train, rows, length, tokenizer, model.config),
            held_out=part(MEASURED_WHILE_TRAINING + 1),
            plan=plan,
            collate=family.window_collate(model.config, tokenizer, training=True),
            measure=measure,
            figures=family.language_model_figures,
            counts=counts,
            candidates=given(config.sampled_softmax, "sampled_softmax"),
            save=save,
            reporter=invocation.reporter,
            resume=invocation.resume,
        )
    )

    def figures() -> dict[str, float]:
        best = type(model).from_pretrained(folder / "model")
        return family.language_model_figures(best, part(len(held_out.ids)), measure, plan.device)

    return result, processes.first(figures)


def tune_language_model(
    name: str, place: Path, source: ModelFolder, text: LmText, config: FinetuneConfig, invocation: Invocation
) -> Path:
    """Tune a language model on text as `finetune` does it, unless that has been done there.

    Args:
        name: `lm` or `backward-lm`.
        place: its folder, with the model and its figures afterwards.

    Returns:
        The folder of the tuned model.
    """
    if run_folder.is_finished(place):
        return place / "model"
    processes.first(lambda: place.mkdir(parents=True, exist_ok=True))
    tokenizer = source.load_tokenizer()
    set_seed(config.seed)
    model = source.family.load_language_model(source.path, config.lm.architecture)
    corpora = tokenised(source.family, text, None, tokenizer, invocation)
    stage = "backward language model" if name.startswith("backward") else "language model"
    result, figures = train_stage(
        stage, place, source.family, model, tokenizer, corpora, config.lm, config, invocation, new=False
    )
    run_folder.write_json(
        place / "metrics.json",
        {"steps": result.steps, "seconds": round(result.seconds, 2), "validation": split_figures(figures)},
    )
    return place / "model"


def _tokenise(
    texts: Iterable[str], encoder: CorpusEncoder, folder: Path, invocation: Invocation
) -> TokenCorpus:
    reporter = invocation.reporter
    reporter.start("tokenising", None)

    def say(count: int, characters: int) -> None:
        reporter.advance(count, f"{count:,} texts, {characters / 1e6:.0f} million characters")

    try:
        return processes.in_turns(lambda: tokenise_corpus(texts, encoder, folder, say))
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


def split_figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    """The held-out figures, of which a family may have no loss to tell."""
    return {key: figures.get(key) for key in ("tokens", "loss", "perplexity", "bits_per_character")}
