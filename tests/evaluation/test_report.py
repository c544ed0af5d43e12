from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nlptl.errors import RunFailed, UsageError
from nlptl.evaluation import report
from nlptl.evaluation.metrics import classification_metrics
from nlptl.evaluation.report import write_report
from tests.evaluation.pages import ATTACK, Elements, evaluation, needs_no_network


def page(path: Path, metrics: dict[str, Any], rows: Any, **options: Any) -> str:
    write_report(path, **{"title": "A run", "metrics": metrics, "rows": rows, "details": {}} | options)
    return path.read_text(encoding="utf-8")


def test_the_page_holds_figures_mistakes_command_and_comparison(tmp_path: Path) -> None:
    metrics, rows = evaluation(3)
    comparison = {"accuracy_difference": 0.021, "interval": [-0.004, 0.046], "mcnemar_p": 0.1234}
    details = {"command": "nlptl evaluate --model run", "data": "14 texts truncated"}
    html = page(tmp_path / "report.html", metrics, rows, comparison=comparison, details=details)
    text = Elements(html).text
    low, high = metrics["accuracy_interval"]
    assert f"{metrics['accuracy']:.3f}" in text
    assert f"95 % interval {low:.3f} to {high:.3f}" in text
    assert "+0.021" in text
    assert "p = 0.123" in text
    assert "do not tell the two runs apart" in text
    assert "nlptl evaluate --model run" in text
    assert "14 texts truncated" in text
    wrong = sum(row["label"] != row["prediction"] for row in rows)
    assert f"20 of {wrong}" in text


def test_mistakes_are_the_surest_first(tmp_path: Path) -> None:
    metrics, rows = evaluation(3)
    html = page(tmp_path / "report.html", metrics, rows)
    wrong = [row for row in rows if row["label"] != row["prediction"]]
    wrong.sort(key=lambda row: -row["probability"])
    assert re.findall(r"<p class=\"quiet\">row (\d+)", html) == [str(row["row"]) for row in wrong[:20]]


def test_nothing_in_texts_labels_or_details_becomes_markup(tmp_path: Path) -> None:
    attack = ATTACK + '" onload="x'
    metrics = classification_metrics([0, 1], [[0.1, 0.9], [0.2, 0.8]], [attack, "b"])
    rows = [
        {"row": 0, "text": attack * 50, "label": attack, "prediction": "b", "probability": 0.9},
        {"row": 1, "text": attack, "label": "b", "prediction": "b", "probability": 0.8},
    ]
    html = page(tmp_path / "r.html", metrics, rows, title=attack, details={attack: attack, "command": attack})
    parsed = Elements(html)
    assert ATTACK in parsed.text
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    assert needs_no_network(page(tmp_path / "report.html", *evaluation(4)))


def test_same_input_same_bytes_whatever_the_users_plot_settings(tmp_path: Path) -> None:
    import matplotlib

    metrics, rows = evaluation(3)
    first = page(tmp_path / "a.html", metrics, rows)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True}):
        assert page(tmp_path / "b.html", metrics, rows) == first


def test_the_plot_takes_its_colours_from_the_page_and_its_words_stay_text(tmp_path: Path) -> None:
    html = page(tmp_path / "report.html", *evaluation(3))
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert ">share correct</text>" in svg
    assert "currentColor" in svg
    assert "var(--accent)" in svg
    assert "#000000" not in svg


def test_a_table_a_list_and_a_stream_give_the_same_page(tmp_path: Path) -> None:
    metrics, rows = evaluation(3)
    first = page(tmp_path / "a.html", metrics, rows)
    assert page(tmp_path / "b.html", metrics, pa.Table.from_pylist(rows)) == first
    assert page(tmp_path / "c.html", metrics, iter(rows)) == first


def test_rows_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    metrics, rows = evaluation(3)
    with pytest.raises(ValueError, match="200 decisions, the rows of 199"):
        page(tmp_path / "report.html", metrics, rows[1:])


def test_many_classes_stay_a_small_page_and_too_many_have_no_matrix(tmp_path: Path) -> None:
    html = page(tmp_path / "report.html", *evaluation(150, rows=2000, strength=0.1))
    assert 'class="matrix' in html
    assert "Largest confusions" in html
    assert len(html) < 1_000_000
    html = page(tmp_path / "report.html", *evaluation(report.MATRIX_CLASSES + 1, strength=0.1))
    assert 'class="matrix' not in html
    assert "Largest confusions" in html


def test_several_labels_a_row_have_no_matrix_and_list_their_labels(tmp_path: Path) -> None:
    scores = [[0.9, 0.2, 0.8], [0.1, 0.3, 0.4]]
    metrics = classification_metrics([[1, 1, 0], [0, 0, 0]], scores, ["a", "b", "c"], multi_label=True)
    rows = [
        {"row": 0, "text": "x", "label": ["a", "b"], "prediction": ["a", "c"], "probabilities": scores[0]},
        {"row": 1, "text": "y", "label": [], "prediction": [], "probabilities": scores[1]},
    ]
    html = page(tmp_path / "report.html", metrics, rows)
    text = Elements(html).text
    assert "Confusion matrix" not in text
    assert "Exact-match accuracy" in text
    # Of the two wrong decisions of row 0, leaving out b (0.8 sure) and adding c (0.8), the surer counts.
    assert "row 0 · true a, b · predicted a, c · confidence 0.800" in " ".join(text.split())
    assert "row 1 ·" not in text


def test_a_long_text_is_folded_a_book_cut_and_an_empty_one_said(tmp_path: Path) -> None:
    metrics = classification_metrics([0] * 3, [[0.1, 0.9]] * 3, ["a", "b"])
    texts = ["word " * 200, "x" * (report.TEXT_KEPT + 7), ""]
    rows = [
        {"row": i, "text": text, "label": "a", "prediction": "b", "probability": 0.9}
        for i, text in enumerate(texts)
    ]
    html = page(tmp_path / "report.html", metrics, rows)
    assert html.count("<details>") == 2
    assert "7 more characters are left out here" in html
    assert "an empty text" in html


def test_a_perfect_run_on_one_row_with_a_lone_surrogate(tmp_path: Path) -> None:
    metrics = classification_metrics([0], [[1.0, 0.0]], ["a \ud800", "b"])
    rows = [{"row": 0, "text": "x", "label": "a \ud800", "prediction": "a \ud800", "probability": 1.0}]
    assert "None." in Elements(page(tmp_path / "report.html", metrics, rows)).text


def test_without_the_extra_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"matplotlib; .*nlptl\[report\]"):
        page(tmp_path / "report.html", *evaluation(2))


def test_a_failed_write_leaves_the_former_report_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the former one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunFailed, match=r"No space left on device.*report\.html"):
        page(path, *evaluation(2))
    assert path.read_text() == "the former one"
    assert list(tmp_path.iterdir()) == [path]


def test_figures_of_many_classes_are_all_there_and_names_are_not_cut(tmp_path: Path) -> None:
    metrics, rows = evaluation(300, rows=900)
    html = page(tmp_path / "report.html", metrics, rows)
    text = "".join(Elements(html).text.split())
    for name, figures in metrics["per_class"].items():
        row = f"{figures['precision']:.3f}{figures['recall']:.3f}{figures['f1']:.3f}"
        assert f"{name.replace(' ', '')}{figures['support']}{row}" in text
    assert "ellipsis" not in html


def test_rows_of_one_class_make_a_page(tmp_path: Path) -> None:
    metrics = classification_metrics([1, 1], [[0.4, 0.6], [0.7, 0.3]], ["a", "b"])
    rows = [
        {"row": 0, "text": "x", "label": "b", "prediction": "b", "probability": 0.6},
        {"row": 1, "text": "شكرا", "label": "b", "prediction": "a", "probability": 0.7},
    ]
    html = page(tmp_path / "report.html", metrics, rows)
    assert "only one class is here" in Elements(html).text
    assert '<div class="text" dir="auto">شكرا</div>' in html
