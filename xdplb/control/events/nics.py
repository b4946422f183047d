# SPDX-License-Identifier: Apache-2.0
"""Events of this host's NICs and addresses."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "NicAttached",
    "VipInTheWay",
]


@dataclass(frozen=True, slots=True)
class NicAttached(Event):
    """The program is on a NIC that was asked for, in this mode; `reason` says why not in native mode, if asked for."""

    KIND = "nic_attached"
    TITLE = "NIC attached"
    LEVEL = Level.NOTICE
    interface: str
    ifindex: int
    mode: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class VipInTheWay(Event):
    """A VIP has an address of this host, and is in the way of connections that the host opens itself."""

    KIND = "vip_in_the_way"
    TITLE = "a VIP is in the way of this host's own connections"
    LEVEL = Level.WARNING
    vip: str
    reason: str
