# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, written by hand: they are in docs/, are readable as text, and need no package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bars", "Line", "bar_chart", "line_chart"]

COLOURS = ("#0b62a3", "#d1495b", "#edae49", "#00798c", "#6b4c9a", "#7a7a7a")
WIDTH, HEIGHT = 760, 380
LEFT, TOP, RIGHT, BOTTOM = 80, 44, 20, 48
ROW = 20
LICENCE = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
FONT = 'font-family="system-ui, sans-serif"'
INK, FAINT = "#24292f", "#d0d7de"


@dataclass(frozen=True, slots=True)
class Line:
    """A line, with its name in the legend; `ys` are its values at 0, 1, 2, …."""

    name: str
    ys: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar for each group of a bar chart, with their common name in the legend; None where there is no figure."""

    name: str
    heights: Sequence[float | None]


def line_chart(title: str, axes: tuple[str, str], lines: Sequence[Line], *, marks: Sequence[int] = ()) -> str:
    """Return a chart of lines over the same x; `axes` are the names of the axes, `marks` are events along x."""
    last = max(len(line.ys) for line in lines) - 1
    top = _round_up(max(max(line.ys) for line in lines))
    body = _frame(title, axes, top)
    body += [
        f'<line x1="{_x(mark / last):.1f}" x2="{_x(mark / last):.1f}" y1="{_y(0)}" y2="{_y(0) + 6}" stroke="{INK}"/>'
        for mark in marks
    ]
    for number, line in enumerate(lines):
        points = " ".join(f"{_x(x / last):.1f},{_y(y / top):.1f}" for x, y in _corners(line.ys))
        dashes = ' stroke-dasharray="7 5"' if number % 2 else ""  # lines on top of each other are still visible
        body.append(f'<polyline points="{points}" fill="none" stroke="{_colour(number)}" stroke-width="2"{dashes}/>')
    return _document([*body, *_legend([line.name for line in lines])], len(lines))


def bar_chart(title: str, unit: str, groups: Sequence[str], bars: Sequence[Bars]) -> str:
    """Return a chart of bars in groups, with its height on each bar."""
    top = _round_up(max(height for bar in bars for height in bar.heights if height is not None))
    body = _frame(title, ("", unit), top)
    step = 1 / len(groups)
    wide = step * 0.8 / len(bars)
    for place, group in enumerate(groups):
        body.append(_text(_x((place + 0.5) * step), _y(0) + 18, group, anchor="middle"))
        for number, bar in enumerate(bars):
            x, height = _x(place * step + step * 0.1 + number * wide), bar.heights[place]
            if height is None:
                continue
            y, width = _y(height / top), _x(wide) - _x(0) - 1
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_y(0) - y:.1f}" fill="{_colour(number)}"/>'
            )
            body.append(_text(x + width / 2, y - 4, f"{height:.1f}", anchor="middle", size=10))
    return _document([*body, *_legend([bar.name for bar in bars])], len(bars))


def _frame(title: str, axes: tuple[str, str], top: float) -> list[str]:
    across, up = axes
    body = [_text(LEFT, 24, title, size=15, weight="600")]
    for part in range(5):
        y = _y(part / 4)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        body.append(_text(LEFT - 8, y + 4, _number(top * part / 4), anchor="end"))
    body.append(_text(WIDTH - RIGHT, HEIGHT - 10, across, anchor="end"))
    body.append(
        f'<text transform="translate(14 {_y(0.5)}) rotate(-90)" text-anchor="middle" {FONT} font-size="12" '
        f'fill="{INK}">{escape(up)}</text>'
    )
    return body


def _corners(ys: Sequence[float]) -> list[tuple[int, float]]:
    """Return the points at which the line bends; neighbours of equal height are omitted."""
    ends = {0, len(ys) - 1}
    return [(x, y) for x, y in enumerate(ys) if x in ends or not ys[x - 1] == y == ys[x + 1]]


def _legend(names: Sequence[str]) -> list[str]:
    body = []
    for number, name in enumerate(names):
        y = HEIGHT + ROW * number
        body.append(f'<rect x="{LEFT}" y="{y}" width="12" height="12" fill="{_colour(number)}"/>')
        body.append(_text(LEFT + 20, y + 10, name))
    return body


def _document(body: Sequence[str], rows: int) -> str:
    height = HEIGHT + ROW * rows + 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    return "\n".join([LICENCE, head, f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *body, "</svg>", ""])


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} font-size="{size}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )


def _x(part: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * part


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _round_up(value: float) -> float:
    """Return the next number of 1, 2, 4, 5 or 8 times a power of ten that is not below `value`."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"
