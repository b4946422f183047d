# SPDX-License-Identifier: Apache-2.0
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

from .layout import Output, chosen_output, framed, room, wrapped
from .progress import erase_progress

__all__ = [
    "Column",
    "Table",
    "colour_wanted",
    "coloured",
    "hint_of",
    "line",
    "minute",
    "moment",
    "note",
    "number",
    "paragraph",
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
    """A column: its heading, whether it is aligned to the right, and how its cells are coloured.

    `wide`: only -o wide has it. `text` is for the last column, whose cells are sentences: they are wrapped if there are
    so many columns left for them, else they stand below their rows.
    """

    heading: str
    right: bool = False
    style: Callable[[str], str] | None = None
    wide: bool = False
    text: int = 0


Table = Sequence[Sequence[object]]


def colour_wanted() -> bool:
    """Return whether to print colours: stdout is a terminal and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str) -> str:
    """Return `text`, a state such as `up`, in the colour for it."""
    return click.style(text, fg=_STATE_COLOURS.get(text.lower()))


def table(columns: Sequence[Column], rows: Table) -> None:
    """Print an aligned table with headings. None is printed as a dash; without rows only the headings are printed.

    It fits the room there is (`layout.room`): what does not fit in a row is in lines of its own below it, whole.
    """
    shown = [i for i, column in enumerate(columns) if not column.wide or chosen_output.get() is Output.WIDE]
    columns = [columns[i] for i in shown]
    cells = [[column.heading for column in columns], *([_cell(row[i]) for i in shown] for row in rows)]
    names, width, text = cells[0], room(), columns[-1].text
    frame = framed(cells, least_text=text, width=width)
    above: Sequence[str] | None = None
    for row in cells:
        for line_of_row in frame.lines(row, above):
            parts, place = [], 0
            for i, cell in line_of_row:
                column = columns[i]
                style = _dim if row is names else column.style
                parts.append(" " * (frame.start_of(i) - place))
                parts.append(_aligned(cell, style, frame.widths[i], right=column.right))
                place = frame.start_of(i) + max(len(cell), frame.widths[i])
            click.echo("".join(parts).rstrip(), color=colour_wanted())
        if row is not names and width is not None:
            for below in frame.below(row, names, width, last_is_text=text > 0):
                click.echo(below)
        above = row


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines; a value that has no room goes on in further lines, below its begin."""
    left, whole = max(len(name) for name, _ in fields), room()
    for name, value in fields:
        first, *further = wrapped(_cell(value), None if whole is None else whole - left - 2)
        click.echo(f"{_aligned(name, _dim, left)}  {first}".rstrip(), color=colour_wanted())
        for text in further:
            click.echo(" " * (left + 2) + text)


def paragraph(text: str, *, before: str = "", indent: int = 0) -> None:
    """Print a sentence in lines that fit; `before` is a mark in front of it, `indent` columns wide."""
    whole = room()
    first, *further = wrapped(printable(text, _LONGEST_MESSAGE), None if whole is None else whole - indent)
    click.echo(before + first, color=colour_wanted())
    for each in further:
        click.echo(" " * indent + each)


def print_json(body: bytes | object) -> None:
    """Print a body of the API unchanged, or another value as JSON; what a terminal may act upon is escaped."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else json.dumps(body, indent=2, default=str)
    click.echo(json_printable(text))


def note(message: str) -> None:
    """Print a message to stderr, in one line."""
    erase_progress()
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


def minute(text: str | None) -> str | None:
    """Return a time of the API for a column whose heading says that it is in UTC, to the minute."""
    return None if text is None else text[:16].replace("T", " ")


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


def hint_of(error: XdplbError) -> str:
    """Return the hint, after the problems of fields that the error's sentence does not name already."""
    problems = [
        f"{problem.pointer}: {problem.detail}" for problem in error.problems if problem.detail not in error.detail
    ]
    return "; ".join([*problems, error.hint] if error.hint else problems)
