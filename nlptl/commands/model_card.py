"""The model card (README.md) of a run: what was trained on what, how well it does, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.training.runs import TrainingResult
from nlptl.version import __version__


def language_model_card(
    call: str,
    report: Mapping[str, Any],
    result: TrainingResult,
    figures: Mapping[str, float],
) -> str:
    """Card of what was pretrained, with its held-out curve where it has one.

    Args:
        call: what made it, as it was written.
        figures: on all of the held-out text; of word vectors, which predict none, the loss is missing.
    """
    rows = [
        ("parameters", f"{report['parameters']:,}"),
        ("vocabulary", f"{report['vocabulary']:,}"),
        ("tokens of training text", f"{report['train_tokens']:,}"),
        ("tokens seen", f"{result.tokens:,}"),
        ("steps", f"{result.steps:,} (best: {result.best_step:,})"),
        ("time", f"{result.seconds:.0f} s, {report['tokens_per_second']:,.0f} tokens/s"),
    ]
    if "loss" in figures:
        nats = f"{figures['loss']:.4f} nats a token (perplexity {figures['perplexity']:.1f})"
        rows.append(("held-out loss", nats))
    # Bits compare models of any vocabulary; one that predicts a part of its text has nats a token alone.
    key, unit = "loss", "nats a token"
    if "bits_per_character" in figures:
        key, unit = "bits_per_character", "bits per character"
        rows.append(("held-out bits per character", f"{figures['bits_per_character']:.4f}"))
    rows += [(name, f"{perplexity:.1f}") for name, perplexity in direction_perplexities(figures).items()]
    curve = [
        (f"{point['tokens_seen']:,.0f}", f"{point[key]:.4f}") for point in result.history if key in point
    ]
    curve_lines = [
        f"Held-out {unit} against tokens seen:",
        "",
        _table(("tokens seen", unit), curve),
    ]
    return "\n".join(
        [
            *_front_matter(
                ["text-generation" if "loss" in figures else "feature-extraction", str(report["family"])]
            ),
            f"# {report['family']} {'language model' if 'loss' in figures else 'model'}",
            "",
            _table(("", ""), rows),
            *(curve_lines if curve else []),
            *_how_made(call),
        ]
    )


def direction_perplexities(figures: Mapping[str, float]) -> dict[str, float]:
    """The held-out perplexity of each direction by its name, of a model that predicts in both."""
    return {
        f"held-out perplexity, {name.removesuffix('_perplexity')}": value
        for name, value in figures.items()
        if name.endswith("_perplexity")
    }


def classifier_card(call: str, report: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Card of a classifier, with its figures and what was noticed; `call` is what made it, as it was written."""

    def interval(figures: Mapping[str, Any]) -> str:
        low, high = figures["accuracy_interval"]
        return f"{figures['accuracy']:.4f} ({low:.4f} to {high:.4f})"

    parts = [(name, report[name]) for name in ("validation", "test") if report.get(name)]
    rows = [
        (
            name,
            f"{figures['examples']:,}",
            interval(figures),
            f"{figures['macro_f1']:.4f}",
            f"{figures['log_loss']:.4f}",
        )
        for name, figures in parts
    ]
    labels = ", ".join(f"`{label}`" for label in report["labels"][:50])
    return "\n".join(
        [
            *_front_matter(["text-classification", str(report["family"])]),
            f"# {report['family']} text classifier ({report['strategy']})",
            "",
            f"Labels: {labels}. Trained on {report['train_examples']:,} texts in {report['seconds']:.0f} s.",
            "",
            _table(("data", "examples", "accuracy (95 % interval)", "macro-F1", "log loss"), rows),
            *(["What was noticed:", "", *(f"- {note}" for note in notes), ""] if notes else []),
            "```python",
            "import nlptl, transformers",
            f'classify = transformers.pipeline("text-classification", "{report["model"]}")',
            "```",
            "",
            *_how_made(call),
        ]
    )


def _front_matter(tags: Sequence[str]) -> list[str]:
    return [
        "---",
        "library_name: transformers",
        "tags:",
        *(f"- {tag}" for tag in ("nlptl", *tags)),
        "---",
        "",
    ]


def _how_made(call: str) -> list[str]:
    import torch
    import transformers

    versions = f"nlptl {__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    return [
        "Made by",
        "",
        "```",
        call,
        "```",
        "",
        f"with {versions}; the whole config is in config.yaml.",
        "",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"
