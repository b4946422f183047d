# SPDX-License-Identifier: Apache-2.0
"""What a node says of the health of backends, for the other nodes to show: only of those that are not up.

Unknown fields and bad ones are left out, since a newer version may have written them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .backend import Health
from .node_status import LATEST
from .printable import printable

__all__ = ["MOST_OUT", "NodeHealth", "SeenHealth"]

MOST_OUT = 1000
"""Of so many backends that are not up a node tells at most: it is about what a person reads."""

_LONGEST_REASON = 200
_LONGEST_WORD = 80
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class SeenHealth:
    """The health of a backend as a node sees it, why, and since when, in seconds since 1970."""

    health: Health
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What a node says: as of which generation, and of each backend that is not up, by the VIP's key and its address.

    `left_out` is how many more are not up.
    """

    generation: int = 0
    out: Mapping[tuple[str, str], SeenHealth] = field(default_factory=dict)
    left_out: int = 0

    @classmethod
    def made(cls, generation: int, out: Iterable[tuple[tuple[str, str], SeenHealth]]) -> NodeHealth:
        """Return what a node says of these backends, which are not up; the first ones, if there are many."""
        kept: dict[tuple[str, str], SeenHealth] = {}
        left_out = 0
        for place, seen in out:
            if len(kept) < MOST_OUT:
                kept[place] = seen
            else:
                left_out += 1
        return cls(generation, kept, left_out)

    def of_backend(self, vip: str, address: str, generation: int) -> SeenHealth | None:
        """Return the health of a backend of this generation; None if nothing is known of it."""
        if (seen := self.out.get((vip, address))) is not None:
            return seen
        return None if self.left_out or self.generation < generation else SeenHealth(Health.UP, "", 0.0)

    def data(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        out: dict[str, dict[str, Any]] = {}
        for (vip, address), seen in self.out.items():
            told = {"health": seen.health.value, "reason": seen.reason[:_LONGEST_REASON], "since": round(seen.since, 3)}
            out.setdefault(vip, {})[address] = told
        return {"generation": self.generation, "out": out, "left_out": self.left_out}

    @classmethod
    def of(cls, data: object) -> NodeHealth:
        """Return what a JSON object says."""
        if not isinstance(data, Mapping):
            return cls()
        vips = data.get("out")
        out: dict[tuple[str, str], SeenHealth] = {}
        for vip, backends in vips.items() if isinstance(vips, Mapping) else ():
            for address, told in backends.items() if isinstance(backends, Mapping) else ():
                if len(out) < MOST_OUT and isinstance(told, Mapping):
                    out[_word(vip), _word(address)] = _seen(told)
        return cls(_count(data.get("generation")), out, _count(data.get("left_out")))


def _seen(told: Mapping[str, Any]) -> SeenHealth:
    word, reason, since = told.get("health"), told.get("reason"), told.get("since")
    return SeenHealth(
        Health(word) if isinstance(word, str) and word in set(Health) else Health.UNKNOWN,
        printable(reason, _LONGEST_REASON) if isinstance(reason, str) else "",
        float(since) if isinstance(since, int | float) and 0 <= since < LATEST else 0.0,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else 0


def _word(value: object) -> str:
    return printable(str(value), _LONGEST_WORD)
