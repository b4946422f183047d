"""How frames leave the balancer for a backend, or why they cannot."""

from __future__ import annotations

from dataclasses import dataclass

from .address import IPAddress

__all__ = ["MAX_TAGS", "NextHop", "Resolution", "VlanTag"]

MAX_TAGS = 2
"""The most VLAN tags that a frame is read or sent with."""


@dataclass(frozen=True, slots=True)
class VlanTag:
    """An 802.1Q tag: the VLAN's id, and the tag's type, 0x8100 or 0x88a8."""

    id: int
    type: int = 0x8100


@dataclass(frozen=True, slots=True)
class NextHop:
    """MACs of 6 bytes, the NIC it leaves by, that NIC's MTU (without Ethernet and tags), and the host's address on it.

    `interface` and `ifindex` are of the NIC itself where the route leaves by a VLAN on it; then `tags` are the VLAN's,
    the outer one first. `source` is of the family of the backend's address. `gateway` is None where the backend is on
    the NIC's own segment, which DR needs.
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
class Resolution:
    """The next hop, or None and the reason as a sentence for the backend's status."""

    next_hop: NextHop | None
    reason: str = ""
