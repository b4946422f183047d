# SPDX-License-Identifier: Apache-2.0
"""Events of what this node announces."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdplb.control.events.base import AboutVips, Event, Level

__all__ = ["Announced", "TrackFileWritten", "Withdrawn"]


@dataclass(frozen=True, slots=True)
class Announced(AboutVips, Event):
    """The route of an address or a prefix is in the table, or has another metric there. `vips` have this address."""

    KIND = "announced"
    TITLE = "announced"
    LEVEL = Level.NOTICE
    address: str
    metric: int
    vips: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Withdrawn(AboutVips, Event):
    """The route of an address or a prefix was taken out of the table; `reason` says why. `vips` have this address."""

    KIND = "withdrawn"
    TITLE = "withdrawn"
    LEVEL = Level.WARNING
    address: str
    reason: str
    vips: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class TrackFileWritten(Event):
    """A file that keepalived watches says something else now; `reason` says why it is not 0."""

    KIND = "vrrp_track_file"
    TITLE = "VRRP track file"
    file: str
    value: int
    reason: str | None

    @property
    def level(self) -> Level:
        """Good news, if it is 0."""
        return Level.WARNING if self.value else Level.NOTICE
