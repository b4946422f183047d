# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a config file, and where: `FILE:LINE:COLUMN: sentence`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xdplb.model.errors import FieldProblem, InvalidError
from xdplb.model.printable import printable

__all__ = ["ConfigError", "Fault", "Spot"]

_SHOWN = 100
"""How many faults an error lists."""


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A place in a text: line and column, both from 1. Columns are characters, not bytes."""

    line: int
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong at a spot of a file (None: in the file as a whole), and what to do about it.

    `pointer` is the JSON pointer of the field, and `other` where the thing is that it is in conflict with.
    """

    file: str
    spot: Spot | None
    detail: str
    hint: str = ""
    pointer: str = ""
    other: Spot | None = None

    @property
    def where(self) -> str:
        """The file, with line and column as compilers write them."""
        return self.file if self.spot is None else f"{self.file}:{self.spot.line}:{self.spot.column}"

    def as_json(self) -> dict[str, str | int | None]:
        """Return it for programs; line and column are null if it is about the file as a whole."""
        spot, other = self.spot, self.other
        return {
            "file": self.file,
            "line": None if spot is None else spot.line,
            "column": None if spot is None else spot.column,
            "pointer": self.pointer,
            "detail": self.detail,
            "hint": self.hint,
            "other_line": None if other is None else other.line,
        }

    def __str__(self) -> str:
        other = "" if self.other is None or self.other == self.spot else f" (the other one: line {self.other.line})"
        return printable(f"{self.where}: {self.detail}{other}")


class ConfigError(InvalidError):
    """A config file that cannot be used. Its sentence is the first fault; `faults` are all of them, in order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: Sequence[Fault] = tuple(sorted(faults, key=_order))
        first, *more = self.faults
        super().__init__(
            str(first) + (f" (and {len(more)} more)" if more else ""),
            hint=first.hint,
            problems=tuple(FieldProblem(fault.pointer, str(fault)) for fault in self.faults[:_SHOWN]),
        )


def _order(fault: Fault) -> tuple[str, Spot]:
    return fault.file, fault.spot or Spot(0, 0)
