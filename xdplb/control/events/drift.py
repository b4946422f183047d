# SPDX-License-Identifier: Apache-2.0
"""Events of what is not as it should be on this host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xdplb.control.events.base import Event, Level

__all__ = [
    "DriftFound",
    "DriftKind",
    "DriftOver",
]


class DriftKind(StrEnum):
    """What can be other than it should be. The words are labels of a metric, and never change."""

    MAP = "map"
    """A map does not hold what xdplb wrote to it, or cannot be read, or be brought to the desired state."""
    PIN = "pin"
    """A pin of the program, a map or a link was removed or replaced."""
    PROGRAM = "program"
    """The program was detached from a NIC, or another one is in its place."""
    NIC = "nic"
    """A NIC that was asked for is gone, was made anew, is down, has no carrier or does not take the program."""
    MTU = "mtu"
    """The MTU of a NIC that was asked for was changed."""
    NEIGHBOUR = "neighbour"
    """The neighbour entry of a backend or a gateway was removed, or replaced by a permanent one."""
    ROUTE = "route"
    """There is no route any more to backends that there was one to."""
    ADDRESS = "address"
    """An address of this host is gone that it sends from, or that is a VIP's."""
    ANNOUNCEMENT = "announcement"
    """A route that announces a VIP was removed or is in the way, or a file that keepalived watches was changed."""
    DNS = "dns"
    """A name in DNS does not have what it should, or cannot be read or changed."""
    PEER = "peer"
    """A peer is silent, has another key, another state or this node's name, or its records cannot be pulled."""

    STORE = "store"
    """The store that balancers share is away, or holds what this balancer cannot take."""
    ENTRY = "entry"
    """A VIP or a backend in the store is not taken here: it is not understood, or there is no room for it."""


_MILD = frozenset({DriftKind.NEIGHBOUR, DriftKind.MTU})


@dataclass(frozen=True, slots=True)
class DriftFound(Event):
    """`what` is not as it should be; `repaired` says whether xdplb has put it right. `reason` is a sentence."""

    KIND = "drift"
    TITLE = "drift"
    LEVEL = Level.WARNING
    kind: DriftKind
    what: str
    repaired: bool
    reason: str

    @property
    def level(self) -> Level:
        """Only a notice, if nothing is lost by it."""
        return Level.NOTICE if self.repaired and self.kind in _MILD else self.LEVEL


@dataclass(frozen=True, slots=True)
class DriftOver(Event):
    """`what` is as it should be again, after so many seconds in which it was not."""

    KIND = "drift_over"
    TITLE = "drift over"
    LEVEL = Level.NOTICE
    kind: DriftKind
    what: str
    seconds: float
