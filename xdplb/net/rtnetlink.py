"""The kernel's rtnetlink in the few words xdplb needs: links, addresses, neighbours, routes and their events.

pyroute2 speaks the protocol; nothing outside this file sees its messages. Sockets belong to the network namespace
of the thread that makes them.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pyroute2 import IPRSocket
from pyroute2.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    rtnl,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_USE, ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from xdplb.model.errors import PlatformError

__all__ = [
    "AddressChange",
    "Event",
    "EventSocket",
    "LinkGone",
    "LinkInfo",
    "Neighbour",
    "NeighbourState",
    "RequestSocket",
    "Route",
    "RouteChange",
    "RouteKind",
    "Unreachable",
]

IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
ARPHRD_ETHER = 1
REQUEST_TIMEOUT_SECONDS = 5
EVENT_BUFFER_BYTES = 4 << 20
RTNLGRP_NEXTHOP = 32
SO_RCVBUFFORCE = 33
REQUEST_BATCH = 64
EVENT_GROUPS = (
    rtnl.RTMGRP_LINK | rtnl.RTMGRP_NEIGH | rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV4_ROUTE | rtnl.RTMGRP_IPV4_RULE
)
XDP_MODES = {1: "native", 2: "skb", 3: "offload", 4: "multi"}


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


def _link(message: Any) -> LinkInfo:
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
        xdp_mode=_xdp_mode(attached) if attached else None,
    )


def _xdp_mode(attached: object) -> str:
    names = {"xdp": "native", "xdpgeneric": "skb", "xdpoffload": "offload", "xdpmulti": "multi"}
    return names.get(str(attached)) or XDP_MODES.get(attached if isinstance(attached, int) else 0, str(attached))


def _neighbour(message: Any) -> Neighbour | None:
    destination = message.get_attr("NDA_DST")
    if message["family"] != socket.AF_INET or destination is None:
        return None
    state = NeighbourState(message["state"] & 0xFF)
    if message["header"]["type"] == rtnl.RTM_DELNEIGH:
        state = NeighbourState.NONE
    lladdr = message.get_attr("NDA_LLADDR")
    return Neighbour(message["ifindex"], IPv4Address(destination), state, _mac(lladdr) or None)


def _route(message: Any) -> Route:
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


def _event(message: Any) -> Event | None:
    kind = message["header"]["type"]
    if kind == rtnl.RTM_NEWLINK:
        return _link(message) if message["family"] == socket.AF_UNSPEC else None
    if kind == rtnl.RTM_DELLINK:
        return LinkGone(message["index"]) if message["family"] == socket.AF_UNSPEC else None
    if kind in {rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH}:
        return _neighbour(message)
    if kind in {rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR}:
        return AddressChange(message["index"]) if message["family"] == socket.AF_INET else None
    if kind in {rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE}:
        return _route_change(message)
    return RouteChange(None)


class EventSocket:
    """A non-blocking socket that hears every change of links, addresses, neighbours, routes and rules."""

    def __init__(self) -> None:
        self._socket = IPRSocket()
        self._socket.bind(groups=EVENT_GROUPS)
        raw = self._socket.socket
        raw.settimeout(0)
        raw.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP)
        try:
            raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, EVENT_BUFFER_BYTES)
        except PermissionError:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER_BYTES)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._socket.fileno())

    def drain(self) -> list[Event] | None:
        """Return the events waiting, without blocking; None when the kernel had to drop some: read all again."""
        events: list[Event] = []
        while True:
            try:
                data = self._socket.socket.recv(1 << 16)
            except BlockingIOError:
                return events
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return None
            events += filter(None, (_event(message) for message in self._socket.marshal.parse(data)))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class RequestSocket:
    """A blocking socket for questions and changes; not to be shared between threads."""

    def __init__(self) -> None:
        self._socket = IPRSocket()
        self._socket.bind(groups=0)
        self._socket.socket.settimeout(REQUEST_TIMEOUT_SECONDS)
        self._sequence = itertools.count(1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> list[LinkInfo]:
        """Return all interfaces of the namespace."""
        return [_link(message) for message in self._dump(ifinfmsg(), rtnl.RTM_GETLINK)]

    def addresses(self) -> list[tuple[int, IPv4Interface]]:
        """Return every IPv4 address of the namespace, with its interface's index."""
        request = ifaddrmsg()
        request["family"] = socket.AF_INET
        return [
            (message["index"], IPv4Interface(f"{local}/{message['prefixlen']}"))
            for message in self._dump(request, rtnl.RTM_GETADDR)
            if (local := message.get_attr("IFA_LOCAL"))
        ]

    def neighbours(self) -> list[Neighbour]:
        """Return the IPv4 neighbour table."""
        request = ndmsg()
        request["family"] = socket.AF_INET
        return [entry for message in self._dump(request, rtnl.RTM_GETNEIGH) if (entry := _neighbour(message))]

    def routes(self, addresses: Sequence[IPv4Address]) -> list[Route | Unreachable]:
        """Return where the kernel would send a packet to each address now, in the same order."""
        found: list[Route | Unreachable] = []
        for first in range(0, len(addresses), REQUEST_BATCH):
            requests = [self._route_request(address) for address in addresses[first : first + REQUEST_BATCH]]
            found += [
                Unreachable(-message["error"]) if message["header"]["type"] == NLMSG_ERROR else _route(message)
                for message in self._exchange(requests, rtnl.RTM_GETROUTE, NLM_F_REQUEST)
            ]
        return found

    def probe(self, neighbours: Sequence[tuple[int, IPv4Address]]) -> list[int]:
        """Have the kernel ask for these (ifindex, address) by ARP; return one errno each, 0 where it will."""
        errors: list[int] = []
        for first in range(0, len(neighbours), REQUEST_BATCH):
            requests = [self._probe_request(*entry) for entry in neighbours[first : first + REQUEST_BATCH]]
            flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK
            errors += [-message["error"] for message in self._exchange(requests, rtnl.RTM_NEWNEIGH, flags)]
        return errors

    @staticmethod
    def _route_request(address: IPv4Address) -> Any:
        request = rtmsg()
        request["family"], request["dst_len"] = socket.AF_INET, 32
        request["attrs"] = [("RTA_DST", str(address))]
        return request

    @staticmethod
    def _probe_request(ifindex: int, address: IPv4Address) -> Any:
        request = ndmsg()
        request["family"], request["ifindex"], request["flags"] = socket.AF_INET, ifindex, NTF_USE
        request["attrs"] = [("NDA_DST", str(address))]
        return request

    def _exchange(self, requests: Sequence[Any], kind: int, flags: int) -> list[Any]:
        """Send requests that get one answer each; return the answers in order."""
        sequences = [next(self._sequence) for _ in requests]
        for request, sequence in zip(requests, sequences, strict=True):
            self._socket.put(request, kind, flags, msg_seq=sequence)
        answers: dict[int, Any] = {}
        while len(answers) < len(requests):
            answers.update((m["header"]["sequence_number"], m) for m in self._receive())
        return [answers[sequence] for sequence in sequences]

    def _dump(self, request: Any, kind: int) -> Iterator[Any]:
        sequence = next(self._sequence)
        self._socket.put(request, kind, NLM_F_REQUEST | NLM_F_DUMP, msg_seq=sequence)
        while True:
            for message in self._receive():
                header = message["header"]
                if header["sequence_number"] != sequence:
                    continue
                if header["type"] == NLMSG_DONE:
                    return
                if header["type"] == NLMSG_ERROR:
                    raise PlatformError(f"rtnetlink answered: {os.strerror(-message['error'])}")
                yield message

    def _receive(self) -> list[Any]:
        try:
            data = self._socket.socket.recv(1 << 16)
        except TimeoutError:
            raise PlatformError(f"rtnetlink did not answer within {REQUEST_TIMEOUT_SECONDS} s") from None
        return list(self._socket.marshal.parse(data))
