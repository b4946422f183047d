"""How frames leave the balancer for a backend, or why they cannot."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

__all__ = ["NextHop", "Resolution"]


@dataclass(frozen=True, slots=True)
class NextHop:
    """MACs of 6 bytes, the NIC it leaves by, that NIC's MTU (without Ethernet), and the host's address on it.

    `gateway` is None where the backend is on the NIC's own segment, which DR needs.
    """

    destination_mac: bytes
    source_mac: bytes
    interface: str
    ifindex: int
    mtu: int
    source: IPv4Address
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The next hop, or None and the reason as a sentence for the backend's status."""

    next_hop: NextHop | None
    reason: str = ""
