# SPDX-License-Identifier: Apache-2.0
"""Events of the store that balancers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "PendingDropped",
    "PendingWritten",
    "StoreAway",
    "StoreBack",
    "StoreDiverged",
    "StoreJoined",
    "StoreWritten",
]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class StoreAway(Event):
    """The store cannot be reached, or does not do what it should: packets go on, most changes are refused."""

    KIND = "store_away"
    TITLE = "store away"
    LEVEL = Level.WARNING
    reason: str


@dataclass(frozen=True, slots=True)
class StoreBack(Event):
    """The store answers again, after so many seconds."""

    KIND = "store_back"
    TITLE = "store back"
    LEVEL = Level.NOTICE
    seconds: float


@dataclass(frozen=True, slots=True)
class StoreJoined(Event):
    """The state that is in the store was taken for the first time: from here on it is shared."""

    KIND = "store_joined"
    TITLE = "store joined"
    LEVEL = Level.NOTICE
    lineage: str
    generation: int
    vips: int


@dataclass(frozen=True, slots=True)
class StoreWritten(Event):
    """The state of this balancer was written into the store, which was empty or older; `reason` says which."""

    KIND = "store_written"
    TITLE = "store written"
    LEVEL = Level.WARNING
    reason: str
    lineage: str
    generation: int
    vips: int


@dataclass(frozen=True, slots=True)
class StoreDiverged(Event):
    """The store has a state that does not follow from the one here, and that state was taken.

    `changed` are the VIPs that are otherwise now, or gone. `was` and `generation` are the generations before and after.
    """

    KIND = "store_diverged"
    TITLE = "store diverged: its state was taken"
    LEVEL = Level.ERROR
    reason: str
    was: int
    generation: int
    changed: tuple[str, ...]

    def line(self) -> str:
        """Return the log line: with many VIPs, only some of them."""
        more = len(self.changed) - _SHOWN
        changed = " ".join(self.changed[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
        return f'{self.TITLE}: reason="{self.reason}" was={self.was} generation={self.generation} changed: {changed}'

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs."""
        return [(vip, None) for vip in self.changed]


@dataclass(frozen=True, slots=True)
class PendingWritten(Event):
    """What was changed of a backend here while the store was away is in the store now."""

    KIND = "pending_written"
    TITLE = "pending change written"
    LEVEL = Level.NOTICE
    vip: str
    backend: str
    generation: int


@dataclass(frozen=True, slots=True)
class PendingDropped(Event):
    """What was changed of a backend here while the store was away holds no longer; `reason` says why."""

    KIND = "pending_dropped"
    TITLE = "pending change dropped"
    LEVEL = Level.WARNING
    vip: str
    backend: str
    reason: str
