"""Events of this host's NICs and addresses."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "NicAttached",
    "NicDown",
    "NicLost",
    "NicUp",
    "NicsUnknown",
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
class NicLost(Event):
    """The program is not on a NIC that was asked for. It is attached as soon as that is possible."""

    KIND = "nic_lost"
    TITLE = "NIC not attached"
    LEVEL = Level.WARNING
    interface: str
    reason: str


@dataclass(frozen=True, slots=True)
class NicDown(Event):
    """A NIC has the program, but carries no packets."""

    KIND = "nic_down"
    TITLE = "NIC out of service"
    LEVEL = Level.WARNING
    interface: str
    reason: str


@dataclass(frozen=True, slots=True)
class NicUp(Event):
    """A NIC that has the program carries packets again."""

    KIND = "nic_up"
    TITLE = "NIC in service"
    LEVEL = Level.NOTICE
    interface: str


@dataclass(frozen=True, slots=True)
class NicsUnknown(Event):
    """It could not be found out which NICs have the program; it is tried again."""

    KIND = "nics_unknown"
    TITLE = "the NICs cannot be looked at"
    LEVEL = Level.ERROR
    error: str


@dataclass(frozen=True, slots=True)
class VipInTheWay(Event):
    """A VIP has an address of this host, and is in the way of connections that the host opens itself."""

    KIND = "vip_in_the_way"
    TITLE = "a VIP is in the way of this host's own connections"
    LEVEL = Level.WARNING
    vip: str
    reason: str
