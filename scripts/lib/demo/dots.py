# SPDX-License-Identifier: Apache-2.0
"""A plot of dots as SVG, a panel above the other: readable as text, and it needs no package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Dots", "dot_chart"]

WIDTH, PANEL = 760, 150
LEFT, TOP, RIGHT, GAP = 60, 40, 20, 46
LICENCE = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
FONT = 'font-family="system-ui, sans-serif"'
INK, FAINT, DOT, FAILED = "#24292f", "#d0d7de", "#0b62a3", "#d1495b"
STEPS = 400
"""Dots that are nearer to each other than one of so many steps of either axis are drawn as one."""


@dataclass(frozen=True, slots=True)
class Dots:
    """A panel: its title and its dots, each an x and a y; those without a y are drawn at the top, in another colour."""

    title: str
    dots: Sequence[tuple[float, float | None]]


def dot_chart(title: str, axes: tuple[str, str], panels: Sequence[Dots]) -> str:
    """Return a chart whose panels have the same axes, which are named."""
    xs = [x for panel in panels for x, _ in panel.dots]
    first, last = min(xs), max(xs)
    top = max(1.0, *(y for panel in panels for _, y in panel.dots if y is not None)) * 1.1
    body = [_text(LEFT, 24, title, size=15, weight="600")]
    for number, panel in enumerate(panels):
        ground = TOP + (number + 1) * PANEL + number * GAP
        body += [_text(LEFT, ground - PANEL + 12, panel.title, weight="600")]
        for second in range(int(top) + 1):
            y = ground - second / top * (PANEL - 20)
            body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
            body.append(_text(LEFT - 8, y + 4, str(second), anchor="end", size=10))
        for second in range(int(first), int(last) + 1):
            x = LEFT + (second - first) / (last - first) * (WIDTH - LEFT - RIGHT)
            body.append(_text(x, ground + 14, str(second), anchor="middle", size=10))
        body += _dots(panel, first, last, top, ground)
    height = TOP + len(panels) * (PANEL + GAP)
    body.append(
        _text(WIDTH - RIGHT, height - 10, f"across: {axes[0]}; up: {axes[1]}; red: failed", anchor="end", size=11)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    return "\n".join([LICENCE, head, f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *body, "</svg>", ""])


def _dots(panel: Dots, first: float, last: float, top: float, ground: float) -> list[str]:
    """Return the dots, those of one place once, as a path for each colour: of lines without a length."""
    places: dict[tuple[int, int], str] = {}
    for x, y in panel.dots:
        across = round((x - first) / (last - first) * STEPS)
        up = STEPS if y is None else round(y / top * STEPS)
        places[across, up] = FAILED if y is None else DOT
    paths: dict[str, str] = {}
    for (across, up), colour in sorted(places.items()):
        x, height = LEFT + across / STEPS * (WIDTH - LEFT - RIGHT), ground - up / STEPS * (PANEL - 20)
        paths[colour] = paths.get(colour, "") + f"M{x:.1f} {height:.1f}h0"
    return [
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.4" stroke-linecap="round"/>'
        for colour, path in paths.items()
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} font-size="{size}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )
