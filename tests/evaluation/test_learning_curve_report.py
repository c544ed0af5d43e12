"""The page of a learning curve says what the results say, no more, and nothing in it becomes markup."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nlptl.errors import RunFailed
from nlptl.evaluation.learning_curve_plots import _apart, series_of
from nlptl.evaluation.learning_curve_report import write_learning_curve_report
from tests.evaluation.pages import (
    ATTACK,
    Elements,
    cell,
    curve,
    curve_of_many,
    needs_no_network,
    point,
)


def page(folder: Path, results: dict[str, Any], details: dict[str, str] | None = None) -> str:
    write_learning_curve_report(folder / "report.html", results, details or {})
    return (folder / "report.html").read_text(encoding="utf-8")


def words(html: str) -> str:
    return " ".join(Elements(html).text.split())


def two_points() -> list[dict[str, Any]]:
    cells = [
        cell("tfidf", 0.7104),
        cell("mini frozen", 0.8112, strategy="freeze"),
        cell("mini fine-tuned", 0.8723, strategy="fine-tune"),
    ]
    later = [
        cell("tfidf", 0.8007),
        cell("mini frozen", 0.9011, strategy="freeze"),
        cell("mini fine-tuned", 0.9034, strategy="fine-tune"),
    ]
    supported = {"difference": 0.0611, "difference_interval": [0.0204, 0.1013]}
    noise = {"difference": 0.0023, "difference_interval": [-0.0187, 0.0231]}
    return [
        point(100, cells, winner="mini fine-tuned", runner_up="mini frozen", **supported),
        point(788, later, all=True, runner_up="mini frozen", **noise),
    ]


def test_every_figure_of_the_results_is_on_the_page(tmp_path: Path) -> None:
    results = curve(two_points())
    text = words(page(tmp_path, results, {"test part": "held out by seed 0"}))
    assert text.index(results["summary"]) < text.index("Learning curves")
    for each in (*results["notes"], results["command"], "nlptl 0.1.0, torch 2.13.0", "held out by seed 0"):
        assert each in text
    assert "Measured on 262 examples (the test part of sample) of 2 classes, with 3 draws" in text
    assert "would score 0.504" in text
    for each in (c for p in results["points"] for c in p["cells"]):
        low, high = each["interval"]
        draws = " ".join(f"{a:.3f}" for a in each["accuracies"])
        assert f"{each['accuracy']:.3f}{low:.3f} to {high:.3f}{draws}{each['macro_f1']:.3f}" in text
        assert f"{each['log_loss']:.3f}12.31,234" in text


def test_a_winner_is_named_only_where_the_results_name_one(tmp_path: Path) -> None:
    html = page(tmp_path, curve(two_points()))
    first, second = html.split("<section")[1:]
    assert "mini fine-tuned wins against mini frozen: +0.061 (95 % +0.020 to +0.101)" in words(
        "<section" + first
    )
    assert first.count('class="winner"') == 1
    assert re.search(r'class="winner"><th scope="row"><bdi>mini fine-tuned</bdi>', first)
    second = second[: second.index("</section>")]
    assert "788 labelled texts (all)" in words("<section" + second + "</section>")
    assert "The best and mini frozen cannot be told apart: +0.002 (95 % -0.019 to +0.023)" in words(
        "<section" + second + "</section>"
    )
    assert "winner" not in second


def test_one_system_alone_neither_wins_nor_ties(tmp_path: Path) -> None:
    text = words(page(tmp_path, curve([point(50, [cell("tfidf", 0.7)]), point(100, [cell("tfidf", 0.8)])])))
    assert "wins" not in text
    assert "told apart" not in text


def test_a_failed_cell_is_said_with_its_reason_and_drawn_nowhere(tmp_path: Path) -> None:
    points = [point(n, [cell("tfidf", 0.7), cell("mini frozen", None, strategy="freeze")]) for n in (50, 100)]
    text = words(page(tmp_path, curve(points)))
    assert text.count("mini frozen failed: error: out of memory") == 2
    assert [each.labels for each in series_of(points)] == [[50, 100], []]


def test_without_any_figure_there_is_a_page_and_no_plot(tmp_path: Path) -> None:
    html = page(tmp_path, curve([point(n, [cell("tfidf", None)]) for n in (50, 100)], notes=[]))
    assert "every cell failed" in words(html)
    assert "<h2>Notes" not in html


def test_one_number_of_labels_is_dots_with_every_name(tmp_path: Path) -> None:
    html = page(tmp_path, curve([two_points()[0]]))
    plot = html[html.index('<div class="wide">') : html.index('<div class="narrow">')]
    for name in ("tfidf", "mini frozen", "mini fine-tuned"):
        assert re.search(rf">\d  {name}</text>", plot)
    assert "logarithmic" not in html


def test_systems_differ_without_colour_and_colours_are_the_pages(tmp_path: Path) -> None:
    results = curve_of_many(12)
    series = series_of(results["points"])
    assert len({each.marker for each in series}) == 12
    assert {each.dashes for each in series if each.system.endswith("frozen")} == {(0, (5, 2))}
    assert {each.dashes for each in series if each.system.endswith("fine-tuned")} == {"-"}
    assert len({each.colour for each in series}) == 6
    html = page(tmp_path, results)
    plots = html[html.index('<div class="wide">') : html.index("<h2>Figures")]
    assert {f"var(--series-{n})" for n in range(1, 7)} == set(re.findall(r"var\(--series-\d\)", plots))
    assert not re.search(r"#0\d0\d0\d", plots)
    assert all(f">{each.system}</text>" in plots for each in series)


def test_names_at_the_ends_of_lines_keep_apart_and_stay_inside() -> None:
    moved = _apart([0.50, 0.50, 0.51, 0.90, 0.99, 0.99], 0.05, 0.4, 1.0)
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(moved))
    assert moved[0] >= 0.4
    assert moved[-1] <= 1.0


def test_nothing_in_names_notes_or_the_command_becomes_markup(tmp_path: Path) -> None:
    attack = ATTACK + '" onload="x'
    # Too long for the plot's margin, a name is shortened there; short, it stands in the SVG as it is.
    names = (attack, "<script>x</script>", "-->", "$x_1$", "_hidden", "a & b")
    points = [
        point(n, [cell(name, 0.7, model=attack) for name in names], runner_up=attack) for n in (50, 100)
    ]
    points[0]["cells"].append(cell("failed", None) | {"error": attack})
    points[0]["winner"] = attack
    results = curve(
        points, data=attack, summary=attack, notes=[attack], command=attack, versions={attack: attack}
    )
    results["test"]["source"] = attack
    html = page(tmp_path, results, {attack: attack})
    parsed = Elements(html)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert parsed.text.count(ATTACK) > 10
    assert parsed.text.count("$x_1$") == 4  # the wide plot, the legend, two tables
    assert needs_no_network(html)


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_long_or_broken(tmp_path: Path) -> None:
    names = ("w" * 3000, "مصنف عربي", "分类器", "line\nbreak", "lone \ud800")
    html = page(tmp_path, curve([point(n, [cell(name, 0.7) for name in names]) for n in (50, 5000)]))
    for name in ("w" * 3000, "مصنف عربي", "分类器"):
        assert f"<bdi>{name}</bdi>" in html


def test_same_input_same_bytes_whatever_the_users_plot_settings(tmp_path: Path) -> None:
    import matplotlib

    results = curve(two_points())
    first = page(tmp_path, results)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True}):
        assert page(tmp_path, results) == first


def test_a_failed_write_says_where(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="the report cannot be written"):
        page(tmp_path / "absent", curve(two_points()))
    assert list(tmp_path.iterdir()) == []
