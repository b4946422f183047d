# SPDX-License-Identifier: Apache-2.0
"""What a converted configuration does not have, or has in another way, each with the line that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from xdplb.model.errors import InvalidError
from xdplb.model.printable import printable

__all__ = ["ConvertError", "Kind", "Note", "Notes", "Where"]

_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Where:
    """A line of a file, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Kind(StrEnum):
    """Whether it is not there at all, or there with another meaning."""

    LEFT_OUT = "left out"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Note:
    """What is told of a line: what it said, and what becomes of it."""

    where: Where
    kind: Kind
    said: str
    detail: str

    def __str__(self) -> str:
        return self._told(str(self.where))

    def comment(self) -> str:
        """Return it for a comment in the file that is made: without the folder of the one it is made from."""
        return self._told(f"{Path(self.where.file).name}:{self.where.line}")

    def _told(self, where: str) -> str:
        return printable(f"{where}: {self.kind}: {printable(self.said, _LONGEST)}: {self.detail}", 3 * _LONGEST)


class Notes(dict[Note, None]):
    """Notes, each once, in the order in which they were made."""

    def left_out(self, where: Where, said: str, detail: str) -> None:
        """Note that a line has no counterpart."""
        self.add(Note(where, Kind.LEFT_OUT, said, detail))

    def differs(self, where: Where, said: str, detail: str) -> None:
        """Note that a line has a counterpart that is not quite the same."""
        self.add(Note(where, Kind.DIFFERS, said, detail))

    def add(self, note: Note) -> None:
        """Add a note."""
        self[note] = None


class ConvertError(InvalidError):
    """A file that cannot be read as what it is said to be."""

    @classmethod
    def at(cls, where: Where, detail: str, hint: str = "") -> ConvertError:
        """Return the error for a line."""
        return cls(printable(f"{where}: {detail}"), hint=hint)
