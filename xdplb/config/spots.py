# SPDX-License-Identifier: Apache-2.0
"""Where the keys and values of a text are, by JSON pointer."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from .faults import Spot

__all__ = ["Duplicate", "Lines", "Spots", "below"]


def below(pointer: str, step: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a member of the object or array at `pointer`."""
    return f"{pointer}/{step}" if isinstance(step, int) else f"{pointer}/{step.replace('~', '~0').replace('/', '~1')}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that an object has twice: its pointer, and where both are."""

    pointer: str
    spot: Spot
    first: Spot


@dataclass(slots=True)
class Spots:
    """The spots of keys and of values, by JSON pointer; items of arrays have no key. `duplicates` are in order."""

    keys: dict[str, Spot] = field(default_factory=dict)
    values: dict[str, Spot] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)

    def of_value(self, pointer: str) -> Spot | None:
        """Return the spot of the value at `pointer`; of one that is missing, that of what it is missing in."""
        return self._found(pointer, self.values)

    def of_key(self, pointer: str) -> Spot | None:
        """Return the spot of the key at `pointer`, or that of its value if it has no key."""
        return self.keys.get(pointer) or self.of_value(pointer)

    @staticmethod
    def _found(pointer: str, spots: dict[str, Spot]) -> Spot | None:
        while pointer not in spots:
            if not pointer:
                return None
            pointer = pointer.rpartition("/")[0]
        return spots[pointer]


class Lines:
    """The lines of a text: which spot an offset is."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def spot(self, offset: int) -> Spot:
        """Return the spot of an offset into the text."""
        line = bisect_right(self._starts, offset)
        return Spot(line, offset - self._starts[line - 1] + 1)
