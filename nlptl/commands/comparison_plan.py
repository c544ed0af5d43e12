"""What `compare` is to measure: its systems and its points, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nlptl.commands.classifier_stage import classifier_architecture
from nlptl.commands.finetune import resolved
from nlptl.config import CompareConfig, FinetuneConfig, RunConfig, nearest, validated
from nlptl.data.datasets import Columns, Pool
from nlptl.data.encoding import check_max_length
from nlptl.errors import ConfigError, DataError, UsageError
from nlptl.evaluation.learning_curves import BASELINE

Strategy = Literal["fine-tune", "freeze"]
WAYS: dict[Strategy, str] = {"freeze": "frozen", "fine-tune": "fine-tuned"}
# What `compare` itself decides for each cell; the other keys of `finetune` may be set for all of them.
DECIDED = {"model", "backward_model", "validation", "test", "limit", "strategy", "lm_text"}


@dataclass(frozen=True)
class System:
    """One curve.

    Attributes:
        name: for people.
        slug, model_slug: the system's and its model's in the names of files, unlike any other's.
        model: as the user names it.
        strategy: None for TF-IDF.
        path: the folder of its language model, None until it has been found.
        is_tuned: the language model there has been tuned for all cells.
    """

    name: str
    slug: str
    model: str
    model_slug: str
    strategy: Strategy | None = None
    path: Path | None = None
    is_tuned: bool = False


def chosen_systems(config: CompareConfig) -> list[System]:
    """TF-IDF, then each model in each way that is asked for.

    Raises:
        UsageError: no model is named.
    """
    chosen: list[tuple[str, Strategy]] = []
    for word in (name.strip() for name in config.models):
        model, _, way = word.rpartition(":")
        ways: list[Strategy] = [each for each in WAYS if each == way] or list(WAYS)
        model = model if way in WAYS else word
        if model and model != BASELINE:
            chosen += [(model, strategy) for strategy in ways]
    if not chosen:
        raise UsageError("no model is named to compare", "--models", "for example --models ulmfit-mini")
    systems = [System(BASELINE, BASELINE, BASELINE, BASELINE)]
    model_slugs = _slugs([model for model, _ in chosen])
    names = {(model, strategy): f"{model} {WAYS[strategy]}" for model, strategy in chosen}
    slugs = _slugs(list(names.values()))
    return systems + [
        System(name, slugs[name], model, model_slugs[model], strategy)
        for (model, strategy), name in names.items()
    ]


def check_system(system: System, config: CompareConfig, pool: Pool) -> System:
    """The system with its model found, and all options of its cells checked; no weight is read.

    Raises:
        NlptlError: as of `resolved`, or a key of `finetune` that `compare` decides itself.
    """
    if system.strategy is None:
        return system
    asked = _finetune_config(system, config, str(config.data)).model_copy(
        update={"lm_text": config.lm_text, "text_column": config.text_column, "output": config.output}
    )
    cell, sources = resolved(asked)
    source = sources[0]
    architecture = classifier_architecture(cell, source.family)
    tokenizer = source.family.classifier_tokenizer(source.load_tokenizer(), architecture)
    check_max_length(tokenizer, config.max_length, pairs=pool.has_pairs)
    return replace(system, path=source.path)


def cell_config(
    system: System, config: CompareConfig, folder: Path, *, pairs: bool, limit: int | None, seed: int
) -> FinetuneConfig:
    """What `finetune` is told for one cell: to read the rows that all cells read, and to test nothing."""
    values = {
        "data": str(folder / "work" / "data" / "train.parquet"),
        "text_column": "text",
        "label_column": "label",
        "text_pair_column": "text_pair" if pairs else None,
        "limit": limit,
        "seed": seed,
        "output": folder / "work" / "run",
    }
    if system.is_tuned:
        values["lm_tuning"] = False
    return _finetune_config(system, config, None).model_copy(update=values)


def chosen_points(config: CompareConfig, pool: Pool) -> tuple[list[int], list[str]]:
    """Numbers of labels in rising order, that of all rows last where it is asked for; and notes.

    Raises:
        DataError: so few labels that no class has a row to train on and one to validate with.
    """
    rows, notes = len(pool.rows), []
    counts = [count for count in config.labels if isinstance(count, int)]
    beyond = sorted(count for count in counts if count >= rows)
    if [count for count in beyond if count > rows]:
        listed = ", ".join(f"{count:,}" for count in beyond)
        notes.append(f"there are {rows:,} labelled rows: {listed} labels become all of them")
    points = sorted({count for count in counts if count < rows})
    if beyond or "all" in config.labels:
        points.append(rows)
    classes = len(pool.label_names)
    if points[0] < 2 * classes:
        cause = f"{points[0]} labels are too few for {classes} classes, one row each to train on and one to validate"
        raise DataError(cause, "--labels", f"ask for at least {2 * classes}")
    return points, notes


def columns_of(config: CompareConfig) -> Columns:
    """The columns that the user names."""
    return Columns(config.text_column, config.text_pair_column, config.label_column)


def _finetune_config(system: System, config: CompareConfig, data: str | None) -> FinetuneConfig:
    known = set(FinetuneConfig.model_fields) - set(CompareConfig.model_fields) - DECIDED
    for key in config.finetune:
        if key in DECIDED or key in CompareConfig.model_fields:
            cause = f"{key} is what `compare` decides for each cell, or has an option of its own"
            raise ConfigError(cause, f"finetune.{key}", "leave it out")
        if key not in known:
            cause = f"no key {key!r} of `nlptl finetune`{nearest(key, sorted(known))}"
            raise ConfigError(cause, f"finetune.{key}", "see `nlptl finetune --help`")
    common = {key: getattr(config, key) for key in RunConfig.model_fields if key != "output"}
    own = {"model": str(system.path or system.model), "strategy": system.strategy, "data": data}
    return validated(FinetuneConfig, {**config.finetune, **common, **own}, "finetune")


def _slugs(names: Sequence[str]) -> dict[str, str]:
    """Each name as a part of a file's name, all of them different."""
    slugs: dict[str, str] = {}
    for name in dict.fromkeys(names):
        slug = base = re.sub(r"[^\w.-]+", "-", name).strip("-.")[-60:] or "model"
        number = 1
        while slug in (BASELINE, *slugs.values()):
            number += 1
            slug = f"{base}-{number}"
        slugs[name] = slug
    return slugs
