"""How commands print: data to stdout as a table or as the API's own JSON, messages to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from xdplb.model.errors import XdplbError
from xdplb.model.printable import json_printable, printable

__all__ = [
    "Column",
    "Table",
    "colour_wanted",
    "coloured",
    "hint_of",
    "line",
    "moment",
    "note",
    "number",
    "percent",
    "print_fields",
    "print_json",
    "table",
]

_LONGEST_MESSAGE = 10_000

_STATE_COLOURS = {
    "up": "green", "ready": "green", "online": "green", "ok": "green", "drained": "green", "passed": "green",
    "drain": "yellow", "draining": "yellow", "degraded": "yellow", "unknown": "yellow", "warn": "yellow",
    "maint": "yellow", "timed_out": "yellow", "cut": "yellow", "failing_open": "red",
    "warning": "yellow",
    "down": "red", "error": "red", "critical": "red", "offline": "red", "fail": "red", "failed": "red",
    "expired": "red",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, whether it is aligned to the right, and how its cells are coloured."""

    heading: str
    right: bool = False
    style: Callable[[str], str] | None = None


Table = Sequence[Sequence[object]]


def colour_wanted() -> bool:
    """Return whether to print colours: stdout is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str) -> str:
    """Return `text`, a state such as `up`, in the colour for it."""
    return click.style(text, fg=_STATE_COLOURS.get(text.lower()))


def table(columns: Sequence[Column], rows: Table) -> None:
    """Print an aligned table with headings. None is printed as a dash; without rows only the headings are printed."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(column.heading), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    _line([_aligned(c.heading, _dim, w, right=c.right) for c, w in zip(columns, widths, strict=True)])
    for row in cells:
        _line([_aligned(text, c.style, w, right=c.right) for text, c, w in zip(row, columns, widths, strict=True)])


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        _line([_aligned(name, _dim, width), _cell(value)])


def print_json(body: bytes | object) -> None:
    """Print a body of the API unchanged, or another value as JSON; what a terminal may act upon is escaped."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else json.dumps(body, indent=2, default=str)
    click.echo(json_printable(text))


def note(message: str) -> None:
    """Print a message to stderr, in one line."""
    click.echo(printable(message, _LONGEST_MESSAGE), err=True)


def line(*parts: str, before: str = "") -> None:
    """Print a line; `before` is a mark in front of it, which may have a colour."""
    click.echo(before + "".join(printable(part, _LONGEST_MESSAGE) for part in parts), color=colour_wanted())


def number(value: Any) -> str:
    """Return a count with its thousands separated by spaces, a dash for None."""
    return "-" if value is None else f"{value:,}".replace(",", " ")


def moment(text: str | None) -> str | None:
    """Return a time of the API (RFC 3339, UTC) for people, to the second."""
    return None if text is None else f"{text[:19].replace('T', ' ')} UTC"


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, in percent."""
    return "-" if share is None else f"{share * 100:.1f} %"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value), _LONGEST_MESSAGE)


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _aligned(text: str, style: Callable[[str], str] | None, width: int, *, right: bool = False) -> str:
    """Return `text` with its style, padded to its column. The padding has no style and does not count as text."""
    spaces = " " * (width - len(text))
    styled = style(text) if style else text
    return spaces + styled if right else styled + spaces


def _line(cells: Sequence[str]) -> None:
    click.echo("  ".join(cells).rstrip(), color=colour_wanted())


def hint_of(error: XdplbError) -> str:
    """Return the hint, after the problems of fields that the error's sentence does not name already."""
    problems = [
        f"{problem.pointer}: {problem.detail}" for problem in error.problems if problem.detail not in error.detail
    ]
    return "; ".join([*problems, error.hint] if error.hint else problems)
