# SPDX-License-Identifier: Apache-2.0
"""docs/sizing.md has no figure of its own: each one that was measured stands on a page that says how."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = " ".join(
    (DOCS / page).read_text(encoding="utf-8")
    for page in ("measurements.md", "consistency.md", "reference/metrics.md", "reference/cli.md")
)
TABLES = [
    line
    for line in (DOCS / "sizing.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith("|--")
]
MEASURED = re.compile(r"(?<![\w-])\d[\d,.]*\d(?![\w-])")


@pytest.mark.parametrize("line", TABLES)
def test_each_figure_stands_where_it_was_measured(line: str) -> None:
    missing = [
        figure for figure in MEASURED.findall(line) if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", SOURCES)
    ]
    assert not missing
