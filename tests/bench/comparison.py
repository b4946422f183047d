# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench comparison`: draws docs/comparison.svg from the figures in comparison.toml, and measures nothing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.bench.plot import Bars, bar_chart

__all__ = ["PLOT", "Figure", "draw", "figures"]

DATA = Path(__file__).with_suffix(".toml")
PLOT = Path(__file__).resolve().parents[2] / "docs" / "comparison.svg"
TITLE = "Million packets of 64 bytes a second and core"


@dataclass(frozen=True, slots=True)
class Figure:
    """A bar: `what` was measured of `whom`, `on` which machine; `source` is a command, or an address with its date."""

    what: str
    whom: str
    mpps: float
    source: str
    date: str
    on: str


def figures() -> list[Figure]:
    """Return the figures of comparison.toml, in their order there. One given in ns a packet is turned into Mpps."""
    rows = tomllib.loads(DATA.read_text("utf-8"))["figure"]
    return [
        Figure(
            row["what"],
            row["whom"],
            row["mpps"] if "mpps" in row else 1000 / row["ns"],
            row["source"],
            str(row["date"]),
            row["on"],
        )
        for row in rows
    ]


def draw() -> str:
    """Return the plot: what was measured side by side, and whose figure each bar is."""
    given = figures()
    groups, names = (
        list(dict.fromkeys(names)) for names in zip(*((each.what, each.whom) for each in given), strict=True)
    )
    heights = {(each.what, each.whom): each.mpps for each in given}
    return bar_chart(
        TITLE, "Mpps", groups, [Bars(name, [heights.get((group, name)) for group in groups]) for name in names]
    )
