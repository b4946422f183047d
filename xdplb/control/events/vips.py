# SPDX-License-Identifier: Apache-2.0
"""Events of VIPs as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["VipStatusChanged"]


@dataclass(frozen=True, slots=True)
class VipStatusChanged(Event):
    """The status of a VIP changed, or fewer backends serve than must, or enough again.

    `was` is the status before, None if this is the first one. `serving` are the healthy backends that take new
    connections; `needed` must.
    """

    KIND = "vip_status"
    TITLE = "VIP status"
    LINES = 200
    vip: str
    status: str
    was: str | None
    serving: int
    needed: int

    @property
    def level(self) -> Level:
        """With too few backends that serve it is an error, with all of them good news, else a warning."""
        if self.status == "NO_BACKEND":
            return Level.NOTICE
        if self.serving < self.needed:
            return Level.ERROR
        return Level.NOTICE if self.status == "ONLINE" else Level.WARNING
