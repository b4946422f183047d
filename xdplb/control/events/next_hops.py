# SPDX-License-Identifier: Apache-2.0
"""Events of the way to backends: next hops, and the paths of tunnels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdplb.control.events.base import Event, Level
from xdplb.model.vip import VipKey

__all__ = [
    "NextHopChanged",
    "PathErrorsUnheard",
    "PathMtuLowered",
    "PathMtuOver",
    "PathTrouble",
]


@dataclass(frozen=True, slots=True)
class NextHopChanged(Event):
    """The next hop of a backend changed: by which interface and at which MAC it is reached now, or why it is not."""

    KIND = "next_hop"
    TITLE = "next hop changed"
    LINES = 500
    backend: str
    interface: str | None
    mac: str | None
    reason: str | None
    vips: tuple[VipKey, ...] = field(default=(), repr=False, compare=False)

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs that have the backend."""
        return [(str(vip), self.backend) for vip in self.vips]

    @property
    def level(self) -> Level:
        """A backend that cannot be sent to is a warning; that it can is not."""
        return Level.INFO if self.reason is None else Level.WARNING


@dataclass(frozen=True, slots=True)
class PathMtuLowered(Event):
    """A router said that the path to a backend takes no more than `mtu` bytes; it is believed until `until`."""

    KIND = "path_mtu_lowered"
    TITLE = "path MTU lowered"
    LEVEL = Level.NOTICE
    backend: str
    mtu: int
    router: str
    until: str


@dataclass(frozen=True, slots=True)
class PathMtuOver(Event):
    """What a router said of the MTU of the path to a backend was ten minutes ago: longer packets are tried again."""

    KIND = "path_mtu_over"
    TITLE = "path MTU tried again"
    backend: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class PathTrouble(Event):
    """A router or the backend itself sent an ICMP error about packets in the tunnel to it; said once a while."""

    KIND = "path_trouble"
    TITLE = "path trouble"
    LEVEL = Level.WARNING
    backend: str
    forward: str
    reason: str


@dataclass(frozen=True, slots=True)
class PathErrorsUnheard(Event):
    """ICMP errors about packets in tunnels cannot be read, so the MTUs of paths are not learnt."""

    KIND = "path_errors_unheard"
    TITLE = "ICMP errors about tunnels are not heard"
    LEVEL = Level.WARNING
    error: str
