"""What rtnetlink's messages say, as values: links, neighbours, routes and changes of them.

Nothing outside this file looks into pyroute2's messages.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pyroute2.netlink import rtnl

__all__ = [
    "AddressChange",
    "Event",
    "LinkGone",
    "LinkInfo",
    "Neighbour",
    "NeighbourState",
    "Route",
    "RouteChange",
    "RouteKind",
    "Unreachable",
    "parse_event",
    "parse_link",
    "parse_neighbour",
    "parse_route",
]

IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
ARPHRD_ETHER = 1
XDP_MODES = {"xdp": "native", "xdpgeneric": "skb", "xdpoffload": "offload", "xdpmulti": "multi"}
"""pyroute2's words for how a program is attached, and ours."""


class NeighbourState(IntFlag):
    """The kernel's NUD_* states; NONE stands for an entry that is not there."""

    NONE = 0
    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """An interface: `up` is what was asked, `carrier` what is so; `xdp_id` 0 means no XDP program."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    up: bool
    carrier: bool
    ethernet: bool
    xdp_id: int = 0
    xdp_mode: str | None = None


@dataclass(frozen=True, slots=True)
class LinkGone:
    """An interface that was removed from this namespace."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; `mac` is None unless the kernel holds one."""

    ifindex: int
    address: IPv4Address
    state: NeighbourState
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class AddressChange:
    """An address came to, or left, an interface."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class RouteChange:
    """Routes to `network` may have changed; None says any route may have."""

    network: IPv4Network | None


Event = LinkInfo | LinkGone | Neighbour | AddressChange | RouteChange


class RouteKind(IntFlag):
    """The kernel's RTN_* types that a lookup can answer with."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    MULTICAST = 5


@dataclass(frozen=True, slots=True)
class Route:
    """Where the kernel would send a packet; `gateway` None means on link, `mtu` None the link's."""

    kind: int
    ifindex: int
    gateway: IPv4Address | None
    source: IPv4Address | None
    mtu: int | None = None
    foreign_gateway: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The kernel has no way there; `error` is the errno of its lookup."""

    error: int


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else b""


def parse_link(message: Any) -> LinkInfo:
    """Return the interface that an RTM_NEWLINK is about."""
    xdp = message.get_attr("IFLA_XDP")
    attached = xdp is not None and xdp.get_attr("IFLA_XDP_ATTACHED")
    flags = message["flags"]
    return LinkInfo(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mac=_mac(message.get_attr("IFLA_ADDRESS")),
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        ethernet=message["ifi_type"] == ARPHRD_ETHER,
        xdp_id=(xdp.get_attr("IFLA_XDP_PROG_ID") or 0) if attached else 0,
        xdp_mode=XDP_MODES.get(attached, attached) if attached else None,
    )


def parse_neighbour(message: Any) -> Neighbour | None:
    """Return the entry that an RTM_NEWNEIGH or RTM_DELNEIGH is about, None where it is not one of IPv4."""
    destination = message.get_attr("NDA_DST")
    if message["family"] != socket.AF_INET or destination is None:
        return None
    state = NeighbourState(message["state"] & 0xFF)
    if message["header"]["type"] == rtnl.RTM_DELNEIGH:
        state = NeighbourState.NONE
    lladdr = message.get_attr("NDA_LLADDR")
    return Neighbour(message["ifindex"], IPv4Address(destination), state, _mac(lladdr) or None)


def parse_route(message: Any) -> Route:
    """Return the route that the kernel answered with."""
    gateway, source = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PREFSRC")
    metrics = message.get_attr("RTA_METRICS")
    return Route(
        kind=message["type"],
        ifindex=message.get_attr("RTA_OIF") or 0,
        gateway=IPv4Address(gateway) if gateway else None,
        source=IPv4Address(source) if source else None,
        mtu=metrics.get_attr("RTAX_MTU") if metrics is not None else None,
        foreign_gateway=message.get_attr("RTA_VIA") is not None,
    )


def _route_change(message: Any) -> RouteChange | None:
    if message["family"] != socket.AF_INET:
        return None
    destination = message.get_attr("RTA_DST")
    return RouteChange(IPv4Network((destination, message["dst_len"]), strict=False) if destination else None)


def parse_event(message: Any) -> Event | None:
    """Return the change that a message of the event groups tells of, None where it is of no interest."""
    kind = message["header"]["type"]
    if kind == rtnl.RTM_NEWLINK:
        return parse_link(message) if message["family"] == socket.AF_UNSPEC else None
    if kind == rtnl.RTM_DELLINK:
        return LinkGone(message["index"]) if message["family"] == socket.AF_UNSPEC else None
    if kind in {rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH}:
        return parse_neighbour(message)
    if kind in {rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR}:
        return AddressChange(message["index"]) if message["family"] == socket.AF_INET else None
    if kind in {rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE}:
        return _route_change(message)
    return RouteChange(None)
