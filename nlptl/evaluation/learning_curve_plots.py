"""Accuracy against the number of labels, a line a system: the curves, and dots where there is one number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from nlptl.evaluation.plots import INK, SERIES, drawn

MARKERS = "osD^vPX*<>hp"
DASHES: dict[str | None, Any] = {"fine-tune": "-", "freeze": (0, (5, 2)), None: (0, (1.2, 1.6))}
NAME_SHOWN = 28
# Inches and points of the two sizes in which a curve is drawn: for a screen or paper, and for a phone.
WIDE, NARROW = 7.4, 3.6
LINE, LETTER = 11.0, 5.3


@dataclass(frozen=True)
class Series:
    """One system's line: where it is, and how it looks, so that colour is never all that tells it apart.

    Attributes:
        number: 1, 2, ... as in the legend.
        labels, accuracy, low, high: one a point that the system has figures for.
    """

    number: int
    system: str
    colour: str
    marker: str
    dashes: Any
    labels: list[int]
    accuracy: list[float]
    low: list[float]
    high: list[float]

    @property
    def look(self) -> dict[str, Any]:
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes, "markersize": 4.5}


def series_of(points: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The systems of `results["points"]` in the order in which they first occur.

    A colour a model (what has no strategy, as a baseline, is in the colour of the text), dashes a strategy,
    a marker a system.
    """
    looks = {cell["system"]: (cell["model"], cell["strategy"]) for point in points for cell in point["cells"]}
    models = list(dict.fromkeys(model for model, strategy in looks.values() if strategy))
    series = []
    for position, (name, (model, strategy)) in enumerate(looks.items()):
        cells = [
            (point["labels"], cell["accuracy"], *cell["interval"])
            for point in points
            for cell in point["cells"]
            if cell["system"] == name and cell["accuracy"] is not None
        ]
        labels, accuracy, low, high = (
            (list(column) for column in zip(*cells, strict=True)) if cells else [[]] * 4
        )
        colour = SERIES[models.index(model) % len(SERIES)] if strategy else INK
        marker = MARKERS[position % len(MARKERS)]
        series.append(
            Series(position + 1, name, colour, marker, DASHES[strategy], labels, accuracy, low, high)
        )
    return series


def swatch(series: Series) -> str:
    """A piece of the line, for the legend."""

    def draw(figure: Any) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], linewidth=1.6, **series.look)
        axes.set(xlim=(0, 2), ylim=(-1, 1))

    return drawn(0.5, 0.17, draw)


def curves_plot(
    series: Sequence[Series], points: Sequence[Mapping[str, Any]], majority: float, *, narrow: bool
) -> str:
    """Curves with intervals over a logarithmic axis of labels; names at the ends, or on a phone numbers."""
    ends = [str(each.number) if narrow else _shortened(each.system) for each in series]
    width, usual = (NARROW, 3.4) if narrow else (WIDE, 4.3)
    left, right, bottom = 48.0, 72 * width - max(map(_width, ends)) - 16, 48.0
    height = max(usual, (bottom + 8 + LINE * (len(series) + 1)) / 72)  # every name has its line
    top = 72 * height - 8

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left / 72 / width, bottom / 72 / height, right / 72 / width, top / 72 / height)
        low, high = _limits(series, majority)
        labels = [point["labels"] for point in points]
        decades = max(math.log10(labels[-1] / labels[0]), 1e-9)
        gaps = np.diff(np.log10(labels))
        # Side by side, the intervals of one point do not cover each other.
        spread = min(0.5 * gaps.min(), 0.05 * decades)
        axes.set(
            xscale="log", ylim=(low, high), xlabel="labelled texts", ylabel="accuracy",
            xlim=(labels[0] / 10 ** (0.02 * decades + spread / 2), labels[-1] * 10 ** (0.02 * decades + spread / 2)),
        )  # fmt: skip
        axes.axhline(majority, color=INK, alpha=0.4, linewidth=0.8, linestyle=(0, (4, 3)))
        for each, shift in zip(series, np.linspace(-0.5, 0.5, len(series)), strict=True):
            x = np.array(each.labels) * 10 ** (shift * spread)
            axes.vlines(x, each.low, each.high, color=each.colour, alpha=0.5, linewidth=1)
            axes.plot(x, each.accuracy, linewidth=1.6, **each.look)
        _name_the_ends(axes, series, ends, labels[-1], LINE * (high - low) / (top - bottom))
        axes.minorticks_off()
        axes.set_xticks(*_ticks(points, (right - left) / decades))
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)

    return drawn(width, height, draw)


def dots_plot(series: Sequence[Series], majority: float, *, narrow: bool) -> str:
    """For a single number of labels: a dot with its interval a system, the best on top, its name above it."""
    shown = sorted((each for each in series if each.labels), key=lambda each: each.accuracy[0])
    width, height = NARROW if narrow else WIDE, 0.75 + 0.36 * len(shown)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(0.03, 0.47 / height, 0.97, 1 - 0.08 / height)
        low, high = _limits(shown, majority)
        axes.set(xlim=(low, high), ylim=(-0.6, len(shown) - 0.1), xlabel="accuracy", yticks=[])
        axes.spines["left"].set_visible(False)
        axes.axvline(majority, color=INK, alpha=0.4, linewidth=0.8, linestyle=(0, (4, 3)))
        for height_of, each in enumerate(shown):
            axes.axhline(height_of, color=INK, alpha=0.12, linewidth=0.6)
            axes.hlines(height_of, each.low, each.high, color=each.colour, linewidth=1.4)
            axes.plot(each.accuracy, [height_of], **each.look)
            axes.annotate(
                f"{each.number}  {_shortened(each.system)}", (0, height_of), va="bottom",
                xycoords=("axes fraction", "data"), xytext=(0, 5), textcoords="offset points",
            )  # fmt: skip
        axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)

    return drawn(width, height, draw)


def _name_the_ends(axes: Any, series: Sequence[Series], ends: Sequence[str], last: int, line: float) -> None:
    """Names beside the last points, moved apart so far that each has a line of its own.

    A system without figures at the last point is named in the legend alone.
    """
    named = [each for each in series if each.labels and each.labels[-1] == last]
    named.sort(key=lambda each: each.accuracy[-1])
    heights = _apart([each.accuracy[-1] for each in named], line, *axes.get_ylim())
    for each, height in zip(named, heights, strict=True):
        leader = {
            "arrowstyle": "-", "color": each.colour, "alpha": 0.5, "linewidth": 0.7,
            "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4,
        }  # fmt: skip
        axes.annotate(
            ends[each.number - 1], (last, each.accuracy[-1]), xytext=(1.02, height), va="center",
            textcoords=("axes fraction", "data"), color=each.colour, annotation_clip=False, arrowprops=leader,
        )  # fmt: skip


def _apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending values moved as little as it takes to be `gap` apart, and kept between `low` and `high`."""
    moved = list(values)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    below = max(0.0, low - moved[0]) if moved else 0.0
    return [value + below for value in moved]


def _limits(series: Sequence[Series], majority: float) -> tuple[float, float]:
    lows, highs = ([value for each in series for value in getattr(each, name)] for name in ("low", "high"))
    low, high = min(lows), max(highs)
    # A majority far below every system would press the curves together; the page has it in words.
    if low - majority < (high - low) / 3:
        low, high = min(low, majority), max(high, majority)
    margin = 0.05 * max(high - low, 0.05)
    return low - margin, high + margin


def _ticks(points: Sequence[Mapping[str, Any]], decade: float) -> tuple[list[int], list[str]]:
    """The numbers of labels that there were, without those whose figures would touch; `decade` in points."""
    names = [f"{point['labels']:,}" + ("\nall" if point["all"] else "") for point in points]
    kept = [len(points) - 1]
    for i in reversed(range(len(points) - 1)):
        room = decade * math.log10(points[kept[-1]]["labels"] / points[i]["labels"])
        if room > LETTER * (len(f"{points[i]['labels']:,}") + len(f"{points[kept[-1]]['labels']:,}")) / 2 + 6:
            kept.append(i)
    kept.reverse()
    return [points[i]["labels"] for i in kept], [names[i] for i in kept]


def _shortened(name: str) -> str:
    """On one line and not too long for a plot: the beginning and the end; the legend has it whole."""
    name = " ".join(name.encode("utf-8", "replace").decode().split())
    half = NAME_SHOWN // 2
    return name if len(name) <= NAME_SHOWN else f"{name[: half - 1]}…{name[-half:]}"


def _width(name: str) -> float:
    """Points that a name takes at most, in whatever font the reader's browser has."""
    return sum(10.0 if east_asian_width(letter) in "WF" else LETTER for letter in name)
