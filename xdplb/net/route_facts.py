# SPDX-License-Identifier: Apache-2.0
"""What the routing tables of this namespace say to somebody who only looks: the doctor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from xdplb.model.errors import PlatformError

from .route_table import KernelTable, TableSocket

__all__ = ["RouteFacts", "has_multipath", "route_facts", "takes_for_forged"]

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_RTA_MULTIPATH = 9
_MOST_ROUTES = 200_000
_ALL_TABLES, _LOCAL_TABLE = 0, 255


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What is beside the routes of ours: `others` in their table, those `elsewhere` of their protocol, and `rules`.

    `rules` are those that look into the table. All in words.
    """

    others: tuple[str, ...]
    elsewhere: tuple[str, ...]
    rules: tuple[str, ...]


def route_facts(table: int, protocol: int) -> RouteFacts:
    """Return what there is about a table and a protocol. Raises PlatformError."""
    own = KernelTable(table, protocol)
    try:
        others = tuple(str(route.network) for route in own.read() if not route.ours)
    finally:
        own.close()
    with _socket() as requests:
        elsewhere = tuple(
            f"{found.network} in table {found.table}"
            for family in _FAMILIES.values()
            for found in requests.dump(family, _ALL_TABLES, protocol)
            if found.protocol == protocol and found.table not in {table, _LOCAL_TABLE}
        )
    return RouteFacts(others, elsewhere, tuple(_rules(table)))


def has_multipath(version: int) -> bool:
    """Return whether the main table has a route by several next hops. Of a huge table, only the first part is read."""
    with _socket() as requests:
        for place, found in enumerate(requests.dump(_FAMILIES[version], 254)):
            if _RTA_MULTIPATH in found.attributes:
                return True
            if place >= _MOST_ROUTES:
                break
    return False


def takes_for_forged(source: IPv4Address, nic: str) -> bool:
    """Whether the host drops what comes in by a NIC from this address, and is for others: by rp_filter, or as its own.

    The kernel is asked for the way of such a packet to an address that is nobody's (RFC 5737).
    """
    with IPRoute() as route:
        try:
            for index in route.link_lookup(ifname=nic):
                route.route("get", dst="192.0.2.1", src=str(source), iif=index)
        except NetlinkError as error:
            return error.code in {errno.EINVAL, errno.EXDEV}
    return False


@contextmanager
def _socket() -> Iterator[TableSocket]:
    try:
        requests = TableSocket()
    except OSError as error:
        raise PlatformError(f"the kernel's rtnetlink cannot be used: {error.strerror}") from error
    try:
        yield requests
    finally:
        requests.close()


def _rules(table: int) -> Iterator[str]:
    with IPRoute() as route:
        for family in _FAMILIES.values():
            for rule in route.get_rules(family):
                if (rule.get_attr("FRA_TABLE") or rule["table"]) == table:
                    yield _rule_text(rule)


def _rule_text(rule: Any) -> str:
    return f"priority {rule.get_attr('FRA_PRIORITY') or 0}"
