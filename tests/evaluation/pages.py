"""What the tests of pages share: figures to show, the elements of a page, and whether it stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from nlptl.evaluation.metrics import classification_metrics

ATTACK = "<script>alert('x')</script>"


def evaluation(
    classes: int, rows: int = 200, strength: float = 0.6
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(classes)
    names = [f"class {c}" for c in range(classes)]
    labels = rng.integers(0, classes, size=rows)
    probabilities = rng.dirichlet(np.full(classes, 0.3), size=rows) + strength * np.eye(classes)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    top = probabilities.argmax(axis=1)
    records = [
        {"row": i, "text": f"text {i}", "label": names[y], "prediction": names[p], "probability": float(q)}
        for i, (y, p, q) in enumerate(zip(labels, top, probabilities.max(axis=1), strict=True))
    ]
    return classification_metrics(labels, probabilities, names), records


def cell(
    system: str, accuracy: float | None, *, strategy: str | None = None, model: str = ""
) -> dict[str, Any]:
    """Of a learning curve; without an accuracy it failed."""
    figures: dict[str, Any] = {
        "accuracy": accuracy, "interval": None, "accuracies": [], "macro_f1": None, "log_loss": None,
        "seconds": None, "peak_memory_mb": None, "error": "error: out of memory",
    }  # fmt: skip
    if accuracy is not None:
        figures = {
            "accuracy": accuracy, "interval": [accuracy - 0.0411, accuracy + 0.0322],
            "accuracies": [accuracy - 0.0123, accuracy, accuracy + 0.0123], "macro_f1": accuracy - 0.0217,
            "log_loss": 1.1 - accuracy, "seconds": 12.34, "peak_memory_mb": 1234.5, "error": None,
        }  # fmt: skip
    return {"system": system, "model": model or system.split()[0], "strategy": strategy, **figures}


def point(labels: int, cells: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    undecided = {"winner": None, "runner_up": None, "difference": None, "difference_interval": None}
    return {"labels": labels, "all": False, **undecided, "cells": cells, **changes}


def curve(points: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """The content of a `results.json`."""
    return {
        "data": "sample",
        "test": {"examples": 262, "source": "the test part of sample"},
        "label_names": ["a", "b"],
        "seeds": [0, 1, 2],
        "majority": 0.504,
        "summary": "With 100 labels, mini fine-tuned is right 87 of 100 times, tfidf 71.",
        "points": points,
        "notes": ["each draw holds as many texts of each class"],
        "command": "nlptl compare --data sample --models mini",
        "versions": {"nlptl": "0.1.0", "torch": "2.13.0"},
        **changes,
    }


def curve_of_many(systems: int, sizes: tuple[int, ...] = (50, 100, 200, 500, 1000)) -> dict[str, Any]:
    """Each system fine-tuned or frozen by turns, each a little worse than the one before it."""
    kinds = (("fine-tuned", "fine-tune"), ("frozen", "freeze"))
    return curve(
        [
            point(
                size,
                [
                    cell(
                        f"model-{i // 2} {kinds[i % 2][0]}",
                        0.6 + 0.05 * n - 0.01 * i,
                        strategy=kinds[i % 2][1],
                    )
                    for i in range(systems)
                ],
            )
            for n, size in enumerate(sizes)
        ]
    )


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text; unbalanced tags are refused."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def needs_no_network(html: str) -> bool:
    """Nothing in the page is fetched from elsewhere."""
    fetched = ("src", "srcset", "href", "xlink:href", "data", "poster", "action")
    values = [
        value or ""
        for _, attributes in Elements(html).tags
        for name, value in attributes.items()
        if name in fetched
    ]
    return (
        all(v.startswith("#") for v in values)
        and "@import" not in html
        and not re.search(r"url\((?!#)", html)
    )
