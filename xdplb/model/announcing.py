# SPDX-License-Identifier: Apache-2.0
"""How this node announces its VIPs: the routes that a BGP daemon reads, and the files that keepalived watches."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from xdplb.model.address import IPNetwork
from xdplb.model.errors import InvalidError

__all__ = [
    "DRAIN_METRIC",
    "MAIN_TABLE",
    "TAKEN_PROTOCOLS",
    "AnnouncedRoute",
    "Announcing",
    "OnDaemonLoss",
    "TrackFile",
    "checked_protocol",
    "checked_table",
]

MAIN_TABLE = 254
"""For FRR before version 10, which imports no IPv6 routes from another table."""

_LAST_OF_USERS = 252
"""Of the tables that 8 bits name, 253 to 255 are the kernel's own; and FRR's `ip import-table` takes no higher ones."""

DRAIN_METRIC = 100
"""The metric of a route while its node drains, of both families. It is what BIRD's and FRR's filters ask for."""

TAKEN_PROTOCOLS = {
    0: "unspecified",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    99: "openr",
    **dict.fromkeys(range(186, 199), "FRR"),
}
"""Numbers of routing protocols that others use (rtnetlink(7), iproute2's rt_protos, FRR's rt_netlink.h)."""


class OnDaemonLoss(StrEnum):
    """What becomes of what is announced when the daemon stops, is killed, or hangs until it is killed."""

    KEEP = "keep"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class TrackFile:
    """A file that keepalived watches. `vips` are names or keys of VIPs of which one must be well; empty: of all."""

    path: Path
    vips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Announcing:
    """What `xdplb up` was told of it.

    `delay_seconds` is for how long a VIP must be well again before its route is back. `track_weight` is what the files
    say while this node should not be the master.
    """

    table: int = 210
    protocol: int = 244
    delay_seconds: float = 2.0
    on_daemon_loss: OnDaemonLoss = OnDaemonLoss.KEEP
    track_files: tuple[TrackFile, ...] = field(default=())
    track_weight: int = -30


@dataclass(frozen=True, slots=True)
class AnnouncedRoute:
    """A route of the table. `ours`: it has our protocol and drops packets, as those that announce a VIP do."""

    network: IPNetwork
    metric: int
    ours: bool = True


def checked_table(number: int) -> int:
    """Return the number of a table for routes of ours; InvalidError if it is none that may be used."""
    if not 1 <= number <= _LAST_OF_USERS and number != MAIN_TABLE:
        raise InvalidError(
            f"table {number} cannot be used",
            hint=f"give 1 to {_LAST_OF_USERS}, or {MAIN_TABLE} for the main table: others are the kernel's own, or FRR"
            " cannot read them",
        )
    return number


def checked_protocol(number: int) -> int:
    """Return a number for routes of ours; InvalidError if it is none, or if others use it."""
    if not 1 <= number <= 255:
        raise InvalidError(f"{number} is not the number of a protocol", hint="give one from 1 to 255, such as 244")
    if (by := TAKEN_PROTOCOLS.get(number)) is not None:
        raise InvalidError(
            f"protocol {number} is {by}'s", hint="give a number that nobody uses on this host, such as 244"
        )
    return number
