# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md and its plot have the figures of tests/bench/comparison.toml, each with where it is from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.comparison import PLOT, Figure, draw, figures

DOCS = Path(__file__).parents[2] / "docs"
PAGE, MEASUREMENTS = (DOCS / page for page in ("performance.md", "measurements.md"))
FIGURES = figures()


def test_the_page_begins_with_the_answer_and_the_plot():
    _, answer, plot, *_ = PAGE.read_text("utf-8").split("\n\n")
    assert re.match(r"\*\*So: [\d.]+ Mpps a core", answer)
    assert f"]({PLOT.name})" in plot


def test_the_plot_is_drawn_from_the_figures():
    assert PLOT.read_text("utf-8") == draw(), "run: scripts/bench comparison"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.whom}, {figure.what}")
def test_each_figure_of_the_plot_is_in_the_table_of_the_page(figure: Figure):
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {figure.what}")]
    assert len(rows) == 1
    assert f"{figure.mpps:.1f}" in re.findall(r"[\d.]+", rows[0].partition("|")[2])


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.whom}, {figure.what}")
def test_each_figure_says_where_it_is_from(figure: Figure):
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", figure.date)
    assert figure.on
    if figure.source.startswith("https://"):
        assert figure.source in PAGE.read_text("utf-8")
    else:
        assert re.match(r"scripts/bench (packet|forward)\b", figure.source)
        assert figure.source.split(" DIR")[0] in MEASUREMENTS.read_text("utf-8")


def test_what_was_measured_here_side_by_side_is_of_one_machine_and_day():
    for what in {figure.what for figure in FIGURES}:
        measured = {(each.on, each.date) for each in FIGURES if each.what == what and "published" not in each.whom}
        assert len(measured) <= 1
