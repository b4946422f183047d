"""Events of drains."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "DrainChanged",
]


@dataclass(frozen=True, slots=True)
class DrainChanged(Event):
    """A drain started, or no connection or no time is left; `flows` are the connections left, None if not known."""

    KIND = "drain"
    TITLE = "drain"
    LINES = 1000
    vip: str
    backend: str
    state: str
    flows: int | None

    @property
    def level(self) -> Level:
        """A drain that ran out of time is a warning: connections are left."""
        return Level.WARNING if self.state == "timed_out" else Level.NOTICE
