# SPDX-License-Identifier: Apache-2.0
"""How frames get from the balancer to a backend, or why they cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from .address import IPAddress, IPNetwork

__all__ = ["MAX_TAGS", "ClientWay", "Lack", "NeighbourEdit", "NextHop", "Resolution", "VlanTag"]

MAX_TAGS = 2
"""The most VLAN tags that a frame is read or sent with."""


@dataclass(frozen=True, slots=True)
class VlanTag:
    """A VLAN tag: the VLAN's id, and the tag's type, 0x8100 (802.1Q) or 0x88a8 (802.1ad)."""

    id: int
    type: int = 0x8100


@dataclass(frozen=True, slots=True)
class NextHop:
    """The MACs (6 bytes each), the NIC to send by, its MTU (without Ethernet header and tags), and a source address.

    If the route uses a VLAN device, `interface` and `ifindex` are those of the NIC below it, and `tags` has its tags,
    the outer one first. `source` is this host's address, of the same family as the backend's. `gateway` is None if the
    backend is on the NIC's own segment, which DR needs.
    """

    destination_mac: bytes
    source_mac: bytes
    interface: str
    ifindex: int
    mtu: int
    source: IPAddress
    gateway: IPAddress | None = None
    tags: tuple[VlanTag, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientWay:
    """The way to nearly all clients of an IP version by the host's routes.

    Addresses in one of `others` are not on it, or may not be: those of the host itself, of the networks that it is
    connected to, and of other routes.
    """

    next_hop: NextHop
    others: tuple[IPNetwork, ...] = ()


class Lack(Enum):
    """What of this host's own configuration is missing, so that there is no next hop."""

    ROUTE = auto()
    ADDRESS = auto()


@dataclass(frozen=True, slots=True)
class NeighbourEdit:
    """Another process has changed the neighbour entry of `address` on `interface`, which leads to backends.

    `fixed` is the MAC that a permanent entry gives it now, instead of the one that it answered with; without one the
    entry was removed, or is no longer permanent if `freed`.
    """

    address: IPAddress
    interface: str
    fixed: bytes | None = None
    freed: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The next hop, or None with the reason: a sentence for the backend's status.

    `source` is the address that the kernel itself would send from. It is known before the MAC is. `pending`: it has
    only just been asked for, and may be known in a moment. `lacks` is what this host itself lacks, if it does.
    """

    next_hop: NextHop | None
    reason: str = ""
    source: IPAddress | None = field(default=None, compare=False)
    pending: bool = field(default=False, compare=False)
    lacks: Lack | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.next_hop is not None:
            object.__setattr__(self, "source", self.next_hop.source)
