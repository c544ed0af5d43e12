"""Plots as SVG elements that take their colours and their fonts from the page they stand in."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nlptl.evaluation.intervals import wilson_interval
from nlptl.evaluation.metrics import CALIBRATION_BINS, calibration_bins

# Colours that stand in a plot for what the page's style sheet decides, in light and in dark.
INK, ACCENT = "#010203", "#040506"
SERIES = [f"#07080{number}" for number in range(1, 9)]
_OF_THE_PAGE = {INK: "currentColor", ACCENT: "var(--accent)"}
_OF_THE_PAGE |= {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nlptl",
    "text.parse_math": False,  # a dollar in the name of a model is a dollar
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def drawn(width: float, height: float, draw: Callable[[Any], None]) -> str:
    """The SVG element of a figure of `width` × `height` inches; the same drawing gives the same bytes.

    Args:
        draw: is given the empty `matplotlib.figure.Figure`, in the style of the page.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    svg = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # "default" first, so that the settings of whoever runs this do not change the page.
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # Letters that matplotlib's own font lacks: the browser, which sets the text, has others.
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from")
        warnings.filterwarnings("ignore", r"(?s)Matplotlib currently does not support")
        figure = Figure(figsize=(width, height))
        figure.patch.set_visible(False)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(svg, format="svg", metadata=nothing)
    element = svg.getvalue()
    element = element[element.index("<svg") :]  # without the XML prologue, which HTML does not have
    element = re.sub(r'<g id="[\w.]+">', "<g>", element)  # the same names in every plot of a page
    return re.sub(r"(?<=fill: |roke: )#0\d0\d0\d", lambda colour: _OF_THE_PAGE[colour[0]], element)


def calibration_plot(confidence: Sequence[float], correct: Sequence[bool]) -> str:
    """The reliability diagram with the histogram of confidences under it, as an SVG element."""
    count, confidence_sum, right = calibration_bins(confidence, correct)
    filled = count > 0
    n, mean, share = count[filled], confidence_sum[filled] / count[filled], right[filled] / count[filled]
    low, high = wilson_interval(right[filled], n)

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        figure.subplots_adjust(left=0.15, right=0.97, top=0.97, bottom=0.12, hspace=0.12)
        upper.plot([0, 1], [0, 1], color=INK, alpha=0.45, linewidth=1, linestyle=(0, (4, 3)))
        upper.errorbar(
            mean, share, [np.maximum(share - low, 0), np.maximum(high - share, 0)],
            color=ACCENT, marker="o", markersize=4, linewidth=1.4, elinewidth=1, capsize=0,
        )  # fmt: skip
        upper.set(ylabel="share correct", ylim=(-0.02, 1.02), xlim=(0.5 if min(mean) >= 0.5 else 0.0, 1.01))
        edges = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
        lower.bar(edges, count, width=0.9 / CALIBRATION_BINS, align="edge", color=ACCENT, alpha=0.55)
        lower.set(xlabel="confidence of the prediction", ylabel="number")
        lower.locator_params(axis="y", nbins=3, integer=True)

    return drawn(4.2, 3.7, draw)
