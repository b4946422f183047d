# SPDX-License-Identifier: Apache-2.0
"""The contents of rtnetlink's messages as values: links, neighbours, addresses, routes, and events of them.

No other file reads fields of pyroute2's messages.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from pyroute2.netlink import rtnl

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.next_hop import VlanTag

__all__ = [
    "MAIN_TABLES",
    "AddressInfo",
    "Event",
    "HostRoute",
    "IPInterface",
    "LinkGone",
    "LinkInfo",
    "Neighbour",
    "NeighbourState",
    "Route",
    "RouteChange",
    "RouteKind",
    "Rule",
    "Unreachable",
    "parse_address",
    "parse_event",
    "parse_host_route",
    "parse_link",
    "parse_neighbour",
    "parse_route",
    "parse_rule",
]

IPInterface = IPv4Interface | IPv6Interface

IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
ARPHRD_ETHER = 1
IFA_F_SECONDARY = 0x01  # of IPv4 only: in IPv6 the same bit says that it is temporary
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
NTF_EXT_LEARNED = 0x10
NTF_EXT_MANAGED = 0x01
FAMILIES = (socket.AF_INET, socket.AF_INET6)
RTM_F_CLONED = 0x200
RTNH_F_DEAD, RTNH_F_LINKDOWN = 0x01, 0x10
FIB_RULE_INVERT = 0x02
FR_ACT_TO_TBL = 1
MAIN_TABLES = frozenset({(0, 255), (32766, 254), (32767, 253)})
"""The kernel's own rules of IPv4, by priority and table: local, main, default. IPv6 has the first two."""

_PLAIN_RULE = {"FRA_TABLE", "FRA_PRIORITY", "FRA_PROTOCOL", "FRA_SUPPRESS_PREFIXLEN", "FRA_UNSPEC", "FRA_PAD"}

XDP_MODES = {"xdp": "native", "xdpgeneric": "skb", "xdpoffload": "offload", "xdpmulti": "multi"}
"""pyroute2's words for how a program is attached, and ours for the same."""


class NeighbourState(IntFlag):
    """The kernel's NUD_* states; NONE stands for an entry that does not exist."""

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
    """An interface. `up`: it is administratively up; `carrier`: its link works; `xdp_id` 0: it has no XDP program.

    For a VLAN device, `vlan` is the tag of its frames and `lower` the index of the interface below it, 0 if that is in
    another namespace. `master` is the index of the bond or bridge it is part of, 0 for none, and `master_kind` says
    which of the two.
    """

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    up: bool
    carrier: bool
    ethernet: bool
    xdp_id: int = 0
    xdp_mode: str | None = None
    vlan: VlanTag | None = None
    lower: int = 0
    master: int = 0
    master_kind: str = ""


@dataclass(frozen=True, slots=True)
class LinkGone:
    """An interface that was removed from this namespace."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; `mac` is None if the kernel has none.

    `kept`: another program wrote it, or has the kernel keep it up to date (`extern_learn`, `managed`).
    """

    ifindex: int
    address: IPAddress
    state: NeighbourState
    mac: bytes | None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class AddressInfo:
    """An address of an interface, or one that was removed from it (`gone`).

    An IPv6 address is `tentative` while duplicate address detection runs, and stays so if another host has it, which
    makes it a `duplicate`. The kernel takes no connections' source from it if it is `passive`: a further IPv4 address
    of a prefix that the interface already has one of, or a deprecated IPv6 address.
    """

    ifindex: int
    address: IPInterface
    tentative: bool = False
    duplicate: bool = False
    gone: bool = False
    passive: bool = False


@dataclass(frozen=True, slots=True)
class RouteChange:
    """Routes to `network` may have changed; None: any route may have."""

    network: IPNetwork | None


Event = LinkInfo | LinkGone | Neighbour | AddressInfo | RouteChange


class RouteKind(IntFlag):
    """The RTN_* types that a lookup of the kernel can return."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5


@dataclass(frozen=True, slots=True)
class Route:
    """Where the kernel would send a packet; `gateway` None means on link, `mtu` None means the link's MTU.

    An IPv4 route may have an IPv6 gateway (RFC 5549).
    """

    kind: int
    ifindex: int
    gateway: IPAddress | None
    source: IPAddress | None
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route of the host's tables; of one that is not unicast, or has several next hops, `ifindex` may be 0.

    `is_simple`: it has one Ethernet next hop, which can be used. `is_conditional`: it is for some packets alone, by
    their source or type of service.
    """

    network: IPNetwork
    kind: int
    metric: int
    ifindex: int
    gateway: IPAddress | None
    mtu: int | None = None
    is_simple: bool = True
    is_conditional: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: its IP version, its `place` (priority and table), and whether it is for all packets."""

    version: int
    place: tuple[int, int]
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The kernel has no route; `error` is the errno of its lookup."""

    error: int


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else b""


def parse_link(message: Any) -> LinkInfo:
    """Return the interface that an RTM_NEWLINK is about."""
    xdp = message.get_attr("IFLA_XDP")
    attached = xdp is not None and xdp.get_attr("IFLA_XDP_ATTACHED")
    flags = message["flags"]
    vlan, lower = _vlan(message)
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
        vlan=vlan,
        lower=lower,
        master=message.get_attr("IFLA_MASTER") or 0,
        master_kind=_info(message, "IFLA_INFO_SLAVE_KIND") or "",
    )


def _info(message: Any, name: str) -> Any:
    info = message.get_attr("IFLA_LINKINFO")
    return info.get_attr(name) if info is not None else None


def _vlan(message: Any) -> tuple[VlanTag | None, int]:
    """Return the tag of a VLAN device and the interface below it; None and 0 for any other interface."""
    if _info(message, "IFLA_INFO_KIND") != "vlan":
        return None, 0
    data = _info(message, "IFLA_INFO_DATA")
    tag = VlanTag(data.get_attr("IFLA_VLAN_ID"), data.get_attr("IFLA_VLAN_PROTOCOL"))
    is_here = message.get_attr("IFLA_LINK_NETNSID") is None
    return tag, (message.get_attr("IFLA_LINK") or 0) if is_here else 0


def parse_neighbour(message: Any) -> Neighbour | None:
    """Return the entry that an RTM_NEWNEIGH or RTM_DELNEIGH is about, None if it is not of IP."""
    destination = message.get_attr("NDA_DST")
    if message["family"] not in FAMILIES or destination is None:
        return None
    state = NeighbourState(message["state"] & 0xFF)
    if message["header"]["type"] == rtnl.RTM_DELNEIGH:
        state = NeighbourState.NONE
    lladdr = message.get_attr("NDA_LLADDR")
    extended = message.get_attr("NDA_FLAGS_EXT")
    managed = isinstance(extended, int) and bool(extended & NTF_EXT_MANAGED)
    kept = managed or bool(message["flags"] & NTF_EXT_LEARNED)
    return Neighbour(message["ifindex"], ip_address(destination), state, _mac(lladdr) or None, kept)


def parse_address(message: Any) -> AddressInfo | None:
    """Return the address that an RTM_NEWADDR or RTM_DELADDR is about, None if it is not of IP."""
    local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if message["family"] not in FAMILIES or local is None:
        return None
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    return AddressInfo(
        message["index"],
        ip_interface(f"{local}/{message['prefixlen']}"),
        tentative=bool(flags & IFA_F_TENTATIVE),
        duplicate=bool(flags & IFA_F_DADFAILED),
        gone=message["header"]["type"] == rtnl.RTM_DELADDR,
        passive=bool(flags & (IFA_F_SECONDARY if message["family"] == socket.AF_INET else IFA_F_DEPRECATED)),
    )


def parse_route(message: Any) -> Route:
    """Return the route that the kernel answered with."""
    source, metrics = message.get_attr("RTA_PREFSRC"), message.get_attr("RTA_METRICS")
    return Route(
        kind=message["type"],
        ifindex=message.get_attr("RTA_OIF") or 0,
        gateway=_gateway(message),
        source=ip_address(source) if source else None,
        mtu=metrics.get_attr("RTAX_MTU") if metrics is not None else None,
    )


def parse_host_route(message: Any) -> HostRoute | None:
    """Return a route of a dump; None if it is of no IP, or of a table that only further rules lead to."""
    table = message.get_attr("RTA_TABLE") or message["table"]
    is_copy = message["flags"] & RTM_F_CLONED
    if message["family"] not in FAMILIES or table not in {place[1] for place in MAIN_TABLES} or is_copy:
        return None
    is_ipv4 = message["family"] == socket.AF_INET
    network = (message.get_attr("RTA_DST") or (0 if is_ipv4 else "::"), message["dst_len"])
    ifindex, metrics = message.get_attr("RTA_OIF") or 0, message.get_attr("RTA_METRICS")
    several = message.get_attr("RTA_MULTIPATH") or message.get_attr("RTA_ENCAP_TYPE")
    return HostRoute(
        network=ip_network(network, strict=False),
        kind=message["type"],
        metric=message.get_attr("RTA_PRIORITY") or 0,
        ifindex=ifindex,
        gateway=_gateway(message),
        mtu=metrics.get_attr("RTAX_MTU") if metrics is not None else None,
        is_simple=message["type"] == RouteKind.UNICAST
        and bool(ifindex)
        and not several
        and not message["flags"] & (RTNH_F_DEAD | RTNH_F_LINKDOWN),
        is_conditional=bool(message["tos"] or message["src_len"]),
    )


def parse_rule(message: Any) -> Rule | None:
    """Return a rule of a dump, None if it is of no IP."""
    if message["family"] not in FAMILIES:
        return None
    table = message.get_attr("FRA_TABLE") or message["table"]
    others = {name for name, _ in message["attrs"]} - _PLAIN_RULE
    is_plain = not others and not message["src_len"] and not message["dst_len"] and not message["tos"]
    suppressed = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    is_plain = is_plain and suppressed in {None, 0xFFFFFFFF, -1} and not message["flags"] & FIB_RULE_INVERT
    version = 4 if message["family"] == socket.AF_INET else 6
    return Rule(
        version, (message.get_attr("FRA_PRIORITY") or 0, table), is_plain and message["action"] == FR_ACT_TO_TBL
    )


def _gateway(message: Any) -> IPAddress | None:
    """Return the gateway; the kernel has another attribute for one of the other family."""
    via = message.get_attr("RTA_VIA")
    text = message.get_attr("RTA_GATEWAY") or (via["addr"] if via is not None else None)
    return ip_address(text) if text else None


def _route_change(message: Any) -> RouteChange | None:
    if message["family"] not in FAMILIES:
        return None
    destination = message.get_attr("RTA_DST")
    if destination is None:
        return RouteChange((IPv4Network if message["family"] == socket.AF_INET else IPv6Network)((0, 0)))
    return RouteChange(ip_network((destination, message["dst_len"]), strict=False))


def parse_event(message: Any) -> Event | None:
    """Return the event that a message of the event groups is about, None if it is of no interest."""
    kind = message["header"]["type"]
    if kind == rtnl.RTM_NEWLINK:
        return parse_link(message) if message["family"] == socket.AF_UNSPEC else None
    if kind == rtnl.RTM_DELLINK:
        return LinkGone(message["index"]) if message["family"] == socket.AF_UNSPEC else None
    if kind in {rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH}:
        return parse_neighbour(message)
    if kind in {rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR}:
        return parse_address(message)
    if kind in {rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE}:
        return _route_change(message)
    return RouteChange(None)  # rules and nexthop objects may concern any route
