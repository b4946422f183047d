# SPDX-License-Identifier: Apache-2.0
"""How much room output has, and how the rows of a table are made to fit it without anything being cut off."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

__all__ = ["Frame", "Output", "chosen_output", "framed", "room", "wrapped"]

_USUAL_COLUMNS = 80
_LEAST_COLUMNS = 40
_GAP = 2
_INDENT = 4
_LEAST_BROKEN_KEY = 16
"""How wide a first column must be at least, so that only its longer cells get a line of their own."""


class Output(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


chosen_output: ContextVar[Output] = ContextVar("chosen_output", default=Output.TABLE)
"""What -o says of the command that runs."""


def room() -> int | None:
    """Return how many columns output may take, None for any number: -o wide.

    That is the width of the terminal; 80 where output does not go to one, unless COLUMNS says otherwise.
    """
    if chosen_output.get() is Output.WIDE:
        return None
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return _USUAL_COLUMNS
    return max(_LEAST_COLUMNS, shutil.get_terminal_size((_USUAL_COLUMNS, 24)).columns)


def wrapped(text: str, width: int | None) -> list[str]:
    """Return `text` in lines of this width, broken between words only: an address stays whole. One line for None."""
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False) or [""]


@dataclass(frozen=True, slots=True)
class Frame:
    """How a table is laid out.

    `widths` are of the columns that stand side by side; those after them are written below each row, by name. With
    `stacked`, the first cell has a line of its own, and the others begin in a line below it, indented. The last column
    that stands beside the others is `text_width` wide and wrapped, if that is not None.
    """

    widths: tuple[int, ...]
    stacked: bool = False
    text_width: int | None = None

    def lines(self, row: Sequence[str], above: Sequence[str] | None) -> Iterator[tuple[tuple[int, str], ...]]:
        """Yield the lines of a row, as (column, text) of each cell that has something. `above` is the row before it."""
        beside = len(self.widths)
        first: list[tuple[int, str]] = list(enumerate(row[:beside]))
        further: list[str] = []
        if self.text_width is not None:
            text, *further = wrapped(row[beside - 1], self.text_width)
            first[-1] = (beside - 1, text)
        if beside > 1 and (self.stacked or len(row[0]) > self.widths[0]):
            if not self.stacked or above is None or above[0] != row[0]:
                yield (first[0],)
            first = first[1:]
        yield tuple(first)
        for text in further:
            yield ((beside - 1, text),)

    def start_of(self, column: int) -> int:
        """Return where a column begins."""
        if self.stacked:
            return 0 if column == 0 else _GAP + sum(self.widths[1:column]) + _GAP * (column - 1)
        return sum(self.widths[:column]) + _GAP * column

    def below(self, row: Sequence[str], names: Sequence[str], width: int, *, last_is_text: bool) -> Iterator[str]:
        """Yield what of a row stands below it: each cell with the name of its column, but for a text."""
        for i in range(len(self.widths), len(row)):
            if row[i] != "-":
                name = "" if last_is_text and i == len(row) - 1 else f"{names[i].lower()}: "
                for line in wrapped(name + row[i], width - _INDENT):
                    yield " " * _INDENT + line


def framed(rows: Sequence[Sequence[str]], *, least_text: int, width: int | None) -> Frame:
    """Return how to lay out a table with these rows, the first of which are the headings.

    The last column is a text unless `least_text` is 0: it is wrapped beside the others if there is so much room, else
    it stands below its row. If the others are still too wide, the first one gets lines of its own: only where it is too
    long; or for all rows if the same stands in several, as a heading. What does not fit then stands below its row.
    """
    widths = tuple(max(len(row[i]) for row in rows) for i in range(len(rows[0])))
    if width is None or _total(widths) <= width:
        return Frame(widths)
    if least_text:
        left = width - _total(widths[:-1]) - _GAP
        if left >= least_text:
            return Frame((*widths[:-1], left), text_width=left)
        widths = widths[:-1]
    while True:
        if _total(widths) <= width:
            return Frame(widths)
        first = width - _total(widths[1:]) - _GAP
        if first >= max(_LEAST_BROKEN_KEY, len(rows[0][0])) and not _repeats(rows):
            return Frame((max(len(row[0]) for row in rows if len(row[0]) <= first), *widths[1:]))
        if len(widths) <= 2 or _GAP + _total(widths[1:]) <= width:
            return Frame(widths, stacked=True)
        widths = widths[:-1]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _repeats(rows: Sequence[Sequence[str]]) -> bool:
    return any(one[0] == other[0] for one, other in pairwise(rows))
