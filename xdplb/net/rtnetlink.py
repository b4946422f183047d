# SPDX-License-Identifier: Apache-2.0
"""Sockets for the kernel's rtnetlink: one that receives events, and one for requests.

pyroute2 encodes and decodes the messages. A socket belongs to the network namespace of the thread that creates it.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterator, Sequence
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
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_USE, ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from xdplb.model.address import IPAddress
from xdplb.model.errors import PlatformError

from .rtmessages import (
    AddressInfo,
    Event,
    HostRoute,
    LinkInfo,
    Neighbour,
    Route,
    Rule,
    Unreachable,
    parse_address,
    parse_event,
    parse_host_route,
    parse_link,
    parse_neighbour,
    parse_route,
    parse_rule,
)

__all__ = ["EventSocket", "RequestSocket"]

REQUEST_TIMEOUT_SECONDS = 5
EVENT_BUFFER_BYTES = 4 << 20
RTNLGRP_NEXTHOP = 32
SO_RCVBUFFORCE = 33
REQUEST_BATCH = 64
RTNLGRP_IPV6_RULE = 19
EVENT_GROUPS = (
    (rtnl.RTMGRP_LINK | rtnl.RTMGRP_NEIGH)
    | (rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV4_ROUTE | rtnl.RTMGRP_IPV4_RULE)
    | (rtnl.RTMGRP_IPV6_IFADDR | rtnl.RTMGRP_IPV6_ROUTE)
)


class EventSocket:
    """A non-blocking socket that receives every event of links, addresses, neighbours, routes and rules."""

    def __init__(self) -> None:
        self._socket = IPRSocket()
        self._socket.bind(groups=EVENT_GROUPS)
        raw = self._socket.socket
        raw.settimeout(0)
        for group in (RTNLGRP_NEXTHOP, RTNLGRP_IPV6_RULE):
            raw.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        try:  # beyond net.core.rmem_max, which only root may do
            raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, EVENT_BUFFER_BYTES)
        except PermissionError:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER_BYTES)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._socket.fileno())

    def drain(self) -> list[Event] | None:
        """Return the pending events, without blocking; None if the kernel had to drop some: read all tables then."""
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
            events += filter(None, (parse_event(message) for message in self._socket.marshal.parse(data)))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class RequestSocket:
    """A blocking socket for requests. It must not be shared between threads."""

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
        return [parse_link(message) for message in self._dump(ifinfmsg(), rtnl.RTM_GETLINK)]

    def addresses(self) -> list[AddressInfo]:
        """Return every address of the namespace, IPv4 first."""
        return [found for message in self._dump(ifaddrmsg(), rtnl.RTM_GETADDR) if (found := parse_address(message))]

    def neighbours(self) -> list[Neighbour]:
        """Return the neighbour tables of both families."""
        return [found for message in self._dump(ndmsg(), rtnl.RTM_GETNEIGH) if (found := parse_neighbour(message))]

    def routes(self, addresses: Sequence[IPAddress]) -> list[Route | Unreachable]:
        """Return the route that the kernel uses now for each address, in the same order."""
        found: list[Route | Unreachable] = []
        for first in range(0, len(addresses), REQUEST_BATCH):
            requests = [self._route_request(address) for address in addresses[first : first + REQUEST_BATCH]]
            found += [
                Unreachable(-message["error"]) if message["header"]["type"] == NLMSG_ERROR else parse_route(message)
                for message in self._exchange(requests, rtnl.RTM_GETROUTE, NLM_F_REQUEST)
            ]
        return found

    def rules(self) -> list[Rule]:
        """Return the policy rules of both families."""
        return [found for message in self._dump(fibmsg(), rtnl.RTM_GETRULE) if (found := parse_rule(message))]

    def host_routes(self, most: int) -> list[HostRoute] | None:
        """Return all routes of both families, None if there are more than `most`.

        Then the rest is not read, and the socket can be used for nothing else: close it.
        """
        found: list[HostRoute] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            request = rtmsg()
            request["family"] = family
            for message in self._dump(request, rtnl.RTM_GETROUTE):
                if (route := parse_host_route(message)) is not None:
                    found.append(route)
                    if len(found) > most:
                        return None
        return found

    def solicit(self, neighbours: Sequence[tuple[int, IPAddress]]) -> list[int]:
        """Have the kernel ask for the MAC of each (ifindex, address); return an errno for each, 0 if it will."""
        return self._change_neighbours(neighbours, rtnl.RTM_NEWNEIGH, NTF_USE)

    def forget(self, neighbours: Sequence[tuple[int, IPAddress]]) -> None:
        """Have the kernel forget the MAC of each (ifindex, address)."""
        self._change_neighbours(neighbours, rtnl.RTM_DELNEIGH, 0)

    def _change_neighbours(self, neighbours: Sequence[tuple[int, IPAddress]], kind: int, ntf: int) -> list[int]:
        errors: list[int] = []
        flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE if kind == rtnl.RTM_NEWNEIGH else 0)
        for first in range(0, len(neighbours), REQUEST_BATCH):
            requests = [self._neighbour_request(*entry, ntf) for entry in neighbours[first : first + REQUEST_BATCH]]
            errors += [-message["error"] for message in self._exchange(requests, kind, flags)]
        return errors

    @staticmethod
    def _route_request(address: IPAddress) -> Any:
        request = rtmsg()
        request["family"], request["dst_len"] = _family(address), address.max_prefixlen
        request["attrs"] = [("RTA_DST", str(address))]
        return request

    @staticmethod
    def _neighbour_request(ifindex: int, address: IPAddress, ntf: int) -> Any:
        request = ndmsg()
        request["family"], request["ifindex"], request["flags"] = _family(address), ifindex, ntf
        request["attrs"] = [("NDA_DST", str(address))]
        return request

    def _exchange(self, requests: Sequence[Any], kind: int, flags: int) -> list[Any]:
        """Send requests that get one answer each; return the answers in the order of the requests."""
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
                    continue  # a late answer to an earlier request, which timed out
                if header["type"] == NLMSG_DONE:
                    return
                if header["type"] == NLMSG_ERROR:
                    raise PlatformError(f"rtnetlink answered: {os.strerror(-message['error'])}")
                yield message

    def _receive(self) -> list[Any]:
        return list(self._socket.marshal.parse(self._bytes()))

    def _bytes(self) -> bytes:
        """Return the next messages as the kernel sent them."""
        try:
            return bytes(self._socket.socket.recv(1 << 16))
        except TimeoutError:
            raise PlatformError(f"rtnetlink did not answer within {REQUEST_TIMEOUT_SECONDS} s") from None


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
