"""How an evaluation came about, for the end of its page: the model's training, the rows, the cuts, the versions."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from nlptl.commands.library_versions import library_versions
from nlptl.config import EvaluateConfig
from nlptl.data.encoding import EncodedRows


def evaluation_details(config: EvaluateConfig, encoded: EncodedRows, notes: Sequence[str]) -> dict[str, str]:
    """Names with texts, in the order of the page.

    Args:
        encoded: the rows that were measured.
        notes: what was noticed in the data, with what a length limit cut or without.
    """
    truncation = encoded.note("texts")
    details = {"model": str(config.model)}
    trained = _training(Path(os.path.expanduser(str(config.model))))
    if trained is not None:
        details["trained on"] = trained
    details["data"] = f"{config.data}: {len(encoded.encodings):,} labelled texts were measured"
    others = [note for note in notes if note != truncation]
    if others:
        details["about the data"] = "\n".join(others)
    details["truncation"] = truncation or f"no text was cut: all {encoded.tokens:,} tokens were read"
    details["versions"] = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    return details


def _training(model: Path) -> str | None:
    """How a run's own data was split, or None of a model that has left its run's folder."""
    run = model.parent if model.name == "model" else model
    try:
        figures = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        rows = f"{figures['train_examples']:,} texts of {config['data']}"
        rows += f", {figures['validation']['examples']:,} for validation"
        source = config.get("validation")
        return rows + (f" from {source}" if source else f", seed {config['seed']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None  # the page is about the evaluation, and goes without
