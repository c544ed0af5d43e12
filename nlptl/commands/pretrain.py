"""`nlptl pretrain`: text -> tokenizer -> language model; or a language model that goes on with other text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed

import nlptl.commands.run_folder as run_folder
from nlptl import processes
from nlptl.commands.checks import check_training
from nlptl.commands.forecast import pretraining_forecast
from nlptl.commands.invocation import Invocation
from nlptl.commands.language_model_stage import split_figures, tokenised, train_stage
from nlptl.commands.model_card import direction_perplexities, language_model_card
from nlptl.commands.output_lock import locks_released
from nlptl.commands.plans import given
from nlptl.config import PretrainConfig, nearest, with_recipe
from nlptl.data.columns import Columns
from nlptl.data.lm_text import LmText, find_lm_text
from nlptl.errors import ConfigError, ModelError
from nlptl.families import FAMILIES
from nlptl.families.base import Family
from nlptl.pretrained.models import ModelFolder, find_model
from nlptl.training.checkpoints import written_whole
from nlptl.training.models import LayeredModel
from nlptl.training.progress import Reporter

TOKENIZER_CHARACTERS = 40_000_000  # more text moves the merges of a small vocabulary no further


@locks_released()
def pretrain(config: PretrainConfig, invocation: Invocation) -> dict[str, Any]:
    """Train a language model and report how well it predicts held-out text."""
    source = None if config.model is None else _language_model(config, invocation.reporter)
    family = _family(config) if source is None else source.family
    config = with_recipe(config, family.recipes["pretrain" if source is None else "tune"])
    columns = Columns(text=config.text_column)
    text = find_lm_text(config.text, columns, offline=config.offline)
    held_out = (
        find_lm_text(config.validation_text, columns, offline=config.offline)
        if config.validation_text
        else None
    )
    family.check_options(config, config)
    check_training(config)
    if source is None:
        kind, vocab_size = given(config.tokenizer, "tokenizer"), given(config.vocab_size, "vocab_size")
        family.check_new(given(config.size, "size"), kind, vocab_size, config.architecture)
        tokenizer = None
    else:
        source.check_changes(config.architecture)
        tokenizer = source.load_tokenizer()
    if invocation.dry_run:
        return pretraining_forecast(config, family, source, text)

    output = run_folder.check_output_folder(config.output, resume=invocation.resume, force=invocation.force)
    # Learned before anything is written, because a text can prove unfit for it.
    tokenizer = tokenizer or _new_tokenizer(config, family, text, output, invocation)
    folder = run_folder.open_run_folder(output, resume=invocation.resume, force=invocation.force)
    read = text.fingerprint() + (held_out.fingerprint() if held_out else "")
    run_folder.begin_or_go_on(folder, config, read, resume=invocation.resume)
    set_seed(config.seed)
    if source is None:
        tokenizer = _kept(tokenizer, folder / "tokenizer")
    corpora = tokenised(family, text, held_out, tokenizer, invocation)
    model = _model(config, family, source, tokenizer)
    invocation.reporter.note(
        f"{family.name} model: {model.num_parameters():,} parameters, {len(tokenizer):,} tokens in its "
        f"vocabulary, {len(corpora.train.ids):,} tokens of text"
    )
    unknown = (
        corpora.unknown_share() if family.predicts_tokens and tokenizer.unk_token_id is not None else 0.0
    )
    if unknown > 0.001:
        invocation.reporter.note(
            f"the vocabulary covers {1 - unknown:.1%} of the held-out tokens; the others are predicted as one unknown "
            "word, which makes perplexity and bits per character look better than those of a model that spells them"
        )
    result, figures = train_stage(
        "language model",
        folder,
        family,
        model,
        tokenizer,
        corpora,
        config,
        config,
        invocation,
        new=source is None,
    )
    for name, perplexity in direction_perplexities(figures).items():
        invocation.reporter.note(f"{name}: {perplexity:.1f}")
    report = {
        "output": str(folder),
        "model": str(folder / "model"),
        "family": family.name,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "train_tokens": len(corpora.train.ids),
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "tokens_per_second": round(result.tokens / max(result.seconds, 1e-9), 1),
        "peak_memory_mb": round(result.peak_memory_mb, 1),
        "validation": split_figures(figures),
    }
    run_folder.write_text(folder / "README.md", language_model_card(invocation.call, report, result, figures))
    run_folder.write_json(folder / "metrics.json", report)
    return report


def _family(config: PretrainConfig) -> Family:
    if config.family is None:
        raise ConfigError("neither a family nor a model is named", "--family", "for example --family ulmfit")
    if config.family not in FAMILIES:
        cause = f"no family '{config.family}'{nearest(config.family, list(FAMILIES))}"
        raise ConfigError(cause, "--family", f"the families are {', '.join(FAMILIES)}")
    return FAMILIES[config.family]


def _language_model(config: PretrainConfig, reporter: Reporter) -> ModelFolder:
    assert config.model is not None
    found = find_model(config.model, offline=config.offline, reporter=reporter)
    if config.family is not None and config.family != found.family.name:
        raise ConfigError(
            f"{config.model} is of the family {found.family.name}", "--family", "leave --family out"
        )
    if config.vocab_size is not None or config.tokenizer is not None or config.size is not None:
        raise ConfigError(
            "a model that goes on keeps its tokenizer and size",
            "--model",
            "leave out vocab_size, tokenizer and size",
        )
    if not found.is_language_model:
        kind = "a classifier" if found.is_classifier else "an encoder without a softmax"
        cause = f"{kind}, which cannot go on as a language model"
        raise ModelError(cause, config.model, "name what `nlptl pretrain` wrote")
    if not found.has_tokenizer:
        raise ModelError("a model without a tokenizer", config.model, "import it again with its vocabulary")
    return found


def _new_tokenizer(
    config: PretrainConfig, family: Family, text: LmText, output: Path, invocation: Invocation
) -> PreTrainedTokenizerBase:
    """One learned from the text; of a run that goes on, the one that it has kept."""
    if invocation.resume and processes.first((output / "tokenizer").is_dir):
        return AutoTokenizer.from_pretrained(output / "tokenizer")
    kind, size = given(config.tokenizer, "tokenizer"), given(config.vocab_size, "vocab_size")
    invocation.reporter.note(f"learning a {kind} tokenizer of {size:,} tokens")
    sample, note = text.sample(TOKENIZER_CHARACTERS), invocation.reporter.note
    return processes.first(lambda: family.train_tokenizer(kind, sample, size, note))


def _kept(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as it is read from the folder, to which it is written first if need be."""

    def keep() -> None:
        if not folder.is_dir():
            with written_whole(folder) as partial:
                tokenizer.save_pretrained(partial)

    processes.first(keep)
    return AutoTokenizer.from_pretrained(folder)


def _model(
    config: PretrainConfig, family: Family, source: ModelFolder | None, tokenizer: PreTrainedTokenizerBase
) -> LayeredModel:
    if source is not None:
        return family.load_language_model(source.path, config.architecture, backward=config.backward)
    size = given(config.size, "size")
    return family.language_model_class(
        family.build_config(size, tokenizer, config.backward, config.architecture)
    )
