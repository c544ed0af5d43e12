"""The pages as a browser lays them out: on a phone and on a screen, in light and in dark, and off the network."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlptl.evaluation.learning_curve_report import write_learning_curve_report
from nlptl.evaluation.metrics import classification_metrics
from nlptl.evaluation.report import write_report
from tests.evaluation.pages import cell, curve, curve_of_many, evaluation, point

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the pages with"),
    pytest.mark.timeout(300),
]
LONG = "w" * 400
CONTROL = "http://control.invalid/picture.png"

# A frame is as wide as its screen and takes its scheme from `color-scheme`; the page in it has no script of its own.
MEASURE = """
const measured = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, width = frame.clientWidth, cut = [];
  for (const each of page.body.querySelectorAll("*")) {
    const box = each.getBoundingClientRect(), plot = each.closest("svg")?.getBoundingClientRect();
    // Lines of a plot end at its axes, whatever they measure: of a plot it is the words that count.
    const line = plot && !["svg", "text"].includes(each.tagName);
    if (line || !box.width || !box.height || each.parentElement.closest(".scroll")) continue;
    const style = frame.contentWindow.getComputedStyle(each);
    const hidden = style.overflowX === "hidden" && !plot && each.scrollWidth > each.clientWidth + 1;
    const outside = box.left < -1 || box.right > width + 1;
    const beyond = plot && (box.left < plot.left - 1 || box.right > plot.right + 1 ||
      box.top < plot.top - 1 || box.bottom > plot.bottom + 1);
    if (hidden || outside || beyond) cut.push(each.tagName + " " + each.textContent.slice(0, 60));
  }
  measured[frame.name] = {
    cut, wide: page.documentElement.scrollWidth - width,
    fetched: frame.contentWindow.performance.getEntriesByType("resource").length,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    plots: [...page.querySelectorAll(".plot svg")].filter(each => each.getBoundingClientRect().width).length,
  };
}
const text = document.createElement("pre");
text.textContent = JSON.stringify(measured);
document.body.replaceChildren(text);
"""


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str]]]:
    """A port that takes the place of a proxy, and the first line of whatever was asked of it."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    try:
                        asked.append(connection.recv(4096).decode("latin-1").split("\r\n")[0])
                        connection.sendall(
                            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )
                    except OSError:
                        continue

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)


def pages(folder: Path) -> dict[str, str]:
    files = {name: folder / f"{name}.html" for name in ("few", "many", "curves", "dots")}
    names = [LONG, "b", "مصنف عربي"]
    metrics = classification_metrics([0, 1, 2], [[0.1, 0.9, 0], [0.2, 0.8, 0], [0.9, 0.1, 0]], names)
    rows = [
        {"row": 0, "text": LONG * 3, "label": LONG, "prediction": "b", "probability": 0.9},
        {"row": 1, "text": "x", "label": "b", "prediction": "b", "probability": 0.8},
        {"row": 2, "text": "شكرا " * 90, "label": names[2], "prediction": LONG, "probability": 0.9},
    ]
    details = {"command": f"nlptl evaluate --model {LONG}", LONG: LONG}
    write_report(files["few"], title=LONG, metrics=metrics, rows=rows, details=details)
    metrics, rows = evaluation(40, rows=400)
    write_report(files["many"], title="many", metrics=metrics, rows=rows, details={})
    write_learning_curve_report(files["curves"], curve_of_many(12), {})
    cells = [
        cell(LONG, 0.7, strategy="freeze"),
        cell("tfidf", 0.6),
        cell("分类器" * 30, 0.65),
        cell("c", None),
    ]
    alone = point(100, cells, winner=LONG, runner_up="tfidf", difference=0.1, difference_interval=[0.01, 0.2])
    write_learning_curve_report(files["dots"], curve([alone], summary=LONG, notes=[LONG], command=LONG), {})
    return {name: file.read_text(encoding="utf-8") for name, file in files.items()}


def test_nothing_is_cut_off_and_no_request_leaves(tmp_path: Path, listener: tuple[int, list[str]]) -> None:
    port, asked = listener
    frames = "".join(
        f'<iframe name="{name} {width} {scheme}" srcdoc="{html.escape(text)}" '
        f'style="border:0;width:{width}px;height:900px;color-scheme:{scheme}"></iframe>'
        for name, text in pages(tmp_path).items()
        for width in (360, 1200)
        for scheme in ("light", "dark")
    )
    harness = tmp_path / "harness.html"
    # The picture is the harness's own: it shows that what the pages ask for would be seen.
    harness.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><body><img src="{CONTROL}">{frames}'
        f"<script>addEventListener('load', () => {{{MEASURE}}})</script></body>",
        encoding="utf-8",
    )
    assert BROWSER is not None
    outcome = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            f"--user-data-dir={tmp_path / 'profile'}", f"--proxy-server=127.0.0.1:{port}",
            "--virtual-time-budget=20000", "--window-size=1280,900", "--dump-dom", harness.as_uri(),
        ],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    found = re.search(r"<pre>(.*)</pre>", outcome.stdout, re.DOTALL)
    assert found, outcome.stdout[-2000:]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert len(measured) == 16
    for name, page in measured.items():
        assert page["cut"] == [], name
        assert page["wide"] <= 0, name
        assert page["plots"] == 1, name
        red = int(re.findall(r"\d+", page["background"])[0])
        assert (red < 64) == name.endswith("dark"), name
        assert page["fetched"] == 0, name
    # The browser itself calls on its maker, whatever it shows.
    assert {line.split()[1] for line in asked if "google" not in line} == {CONTROL}
