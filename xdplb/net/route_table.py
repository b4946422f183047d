# SPDX-License-Identifier: Apache-2.0
"""A routing table that announces VIPs: routes that drop, which a BGP daemon reads and the kernel never uses.

No rule looks into the table, so it forwards nothing. In the main table, or with a rule, packets for a VIP that XDP has
passed on are dropped, not sent in circles.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, Protocol

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    rtnl,
)
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from xdplb.model.address import IPNetwork
from xdplb.model.announcing import AnnouncedRoute
from xdplb.model.errors import PlatformError

from .rtnetlink import RequestSocket

__all__ = ["FoundRoute", "KernelTable", "RouteTable", "TableSocket", "withdraw_all"]

NETLINK_GET_STRICT_CHK = 12
RTN_BLACKHOLE = 6
_GROUP = 64
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_RTA_DST, _RTA_PRIORITY, _RTA_TABLE = 1, 6, 15
_NO_TABLE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
"""What the kernel says of a table that has no route yet, or of a family that it does not have."""


class RouteTable(Protocol):
    """What reads and writes the routes of one table. All methods block, and raise PlatformError."""

    def read(self) -> list[AnnouncedRoute]:
        """Return all routes of the table, also those of others."""
        ...

    def add(self, routes: Sequence[AnnouncedRoute]) -> list[str]:
        """Add routes of ours; return for each why the kernel refuses it, empty if it is there now."""
        ...

    def remove(self, routes: Sequence[AnnouncedRoute]) -> None:
        """Remove routes of ours. It is no error if one is gone."""
        ...

    def close(self) -> None:
        """Close what it has open."""
        ...


class KernelTable:
    """The table of this number in the kernel; ours are the routes with this `protocol`.

    It belongs to the network namespace of the thread that uses it first, and must not be shared between threads.
    """

    def __init__(self, table: int, protocol: int) -> None:
        self._table, self._protocol = table, protocol
        self._opened: TableSocket | None = None

    def read(self) -> list[AnnouncedRoute]:
        """Return all routes of the table. The kernel sends no others, so a full BGP table beside it costs nothing."""
        found = [each for family in _FAMILIES.values() for each in self._socket.dump(family, self._table)]
        return [AnnouncedRoute(each.network, each.metric, self._is_ours(each)) for each in found]

    def add(self, routes: Sequence[AnnouncedRoute]) -> list[str]:
        """Add routes of ours, none in the place of another's; return for each why not, empty if it is there now."""
        errors = self._socket.change(
            [self._message(route) for route in routes], rtnl.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL
        )
        return [_why(error) for error in errors]

    def remove(self, routes: Sequence[AnnouncedRoute]) -> None:
        """Remove routes of ours. It is no error if one is gone."""
        messages = [self._message(route) for route in routes]
        for route, error in zip(routes, self._socket.change(messages, rtnl.RTM_DELROUTE, 0), strict=True):
            if error not in {0, errno.ESRCH, errno.ENOENT}:
                raise PlatformError(f"the route to {route.network} cannot be removed: {os.strerror(error)}")

    def close(self) -> None:
        """Close the socket."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _socket(self) -> TableSocket:
        if self._opened is None:
            try:
                self._opened = TableSocket()
            except OSError as error:
                raise PlatformError(f"the kernel's rtnetlink cannot be used: {error.strerror}") from error
        return self._opened

    def _is_ours(self, found: FoundRoute) -> bool:
        return found.kind == RTN_BLACKHOLE and found.protocol == self._protocol

    def _message(self, route: AnnouncedRoute) -> rtmsg:
        message = rtmsg()
        message["family"], message["dst_len"] = _FAMILIES[route.network.version], route.network.prefixlen
        message["table"], message["proto"], message["type"] = self._table, self._protocol, RTN_BLACKHOLE
        message["attrs"] = [
            ("RTA_DST", str(route.network.network_address)),
            ("RTA_TABLE", self._table),
            ("RTA_PRIORITY", route.metric),
        ]
        return message


def withdraw_all(table: int, protocol: int) -> list[IPNetwork]:
    """Remove all routes of ours from a table; return what they led to. Raises PlatformError."""
    opened = KernelTable(table, protocol)
    try:
        routes = [route for route in opened.read() if route.ours]
        opened.remove(routes)
    finally:
        opened.close()
    return sorted({route.network for route in routes}, key=lambda network: (network.version, network))


class FoundRoute(NamedTuple):
    """A route as the kernel tells of it: its type (`kind`), and the numbers of the `attributes` that it has."""

    network: IPNetwork
    metric: int
    kind: int
    protocol: int
    table: int
    attributes: frozenset[int]


class TableSocket(RequestSocket):
    """A request socket that has the kernel look for routes of one table alone (strict checking, from Linux 4.20 on)."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def change(self, messages: Collection[rtmsg], kind: int, flags: int) -> list[int]:
        """Send requests about routes; return an errno for each, 0 if it was done."""
        waiting, errors = list(messages), []
        for first in range(0, len(waiting), _GROUP):
            group = waiting[first : first + _GROUP]
            answers = self._exchange(group, kind, NLM_F_REQUEST | NLM_F_ACK | flags)
            errors += [-message["error"] for message in answers]
        return errors

    def dump(self, family: int, table: int, protocol: int = 0) -> Iterator[FoundRoute]:
        """Yield the routes of a table, 0 for all, of this protocol, 0 for any. Takes some microseconds each."""
        sequence = next(self._sequence)
        request = rtmsg()
        request["family"], request["table"], request["proto"] = family, table, protocol
        request["attrs"] = [("RTA_TABLE", table)] if table else []
        self._socket.put(request, rtnl.RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, msg_seq=sequence)
        while True:
            data, place = self._bytes(), 0
            while place < len(data):
                length, kind, _, answered, _ = _HEADER.unpack_from(data, place)
                body, place = data[place + _HEADER.size : place + length], place + ((length + 3) & ~3)
                if answered != sequence:
                    continue  # a late answer to an earlier request, which timed out
                if kind in {NLMSG_DONE, NLMSG_ERROR}:
                    _check_end(body)
                    return
                found = _route_of(body, family)
                if table in {0, found.table}:
                    yield found


def _check_end(body: bytes) -> None:
    """Raise PlatformError if a dump ended with an error, other than that there is nothing to dump."""
    (error,) = struct.unpack_from("=i", body) if len(body) >= 4 else (0,)
    if error and -error not in _NO_TABLE:
        raise PlatformError(f"the routing table cannot be read: {os.strerror(-error)}")


def _route_of(body: bytes, family: int) -> FoundRoute:
    """Return what a message tells of a route."""
    _, length, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    destination, metric, place, names = b"", 0, _ROUTE.size, set()
    while place + _ATTRIBUTE.size <= len(body):
        size, name = _ATTRIBUTE.unpack_from(body, place)
        value = body[place + _ATTRIBUTE.size : place + size]
        names.add(name)
        if name == _RTA_DST:
            destination = value
        elif name == _RTA_PRIORITY:
            (metric,) = struct.unpack("=I", value)
        elif name == _RTA_TABLE:
            (table,) = struct.unpack("=I", value)
        place += max(_ATTRIBUTE.size, (size + 3) & ~3)
    network: IPNetwork
    if family == socket.AF_INET:
        network = IPv4Network((destination or bytes(4), length))
    else:
        network = IPv6Network((destination or bytes(16), length))
    return FoundRoute(network, metric, kind, protocol, table, frozenset(names))


def _why(error: int) -> str:
    if not error:
        return ""
    if error == errno.EEXIST:
        return "another program has put a route of the same metric there"
    return os.strerror(error)
