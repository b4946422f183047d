# SPDX-License-Identifier: Apache-2.0
"""The hash of a flow. All balancers of a cluster compute the same."""

from __future__ import annotations

from xdplb.balance.hashing import HASH_SEED
from xdplb.model.address import IPAddress
from xdplb.model.vip import HashKind

from .packet import Packet

__all__ = ["hash_flow"]

HASH6_ODD = 0x9FB21C651E98DF25
WORD = (1 << 64) - 1


def hash_flow(packet: Packet, kind: HashKind) -> int:
    """Return the 64-bit hash of what `kind` says of the packet.

    The words are as a little-endian CPU reads them from the packet.
    """
    source = _folded(packet.source)
    if kind is HashKind.ADDRESSES:
        asked = _folded(packet.destination)
        mixed = asked << 32 if packet.version == 4 else asked * HASH6_ODD & WORD
        return _mix(source ^ mixed ^ HASH_SEED)
    ports = packet.source_port.to_bytes(2, "big") + packet.destination_port.to_bytes(2, "big")
    if kind is HashKind.DESTINATION_PORT:
        return _mix(int.from_bytes(bytes(2) + ports[2:], "little") << 32 ^ HASH_SEED)
    key = 0 if kind is HashKind.SOURCE else int.from_bytes(ports, "little") << 32
    return _mix(key ^ source ^ HASH_SEED)


def _folded(address: IPAddress) -> int:
    """Return an address as one word."""
    data = address.packed
    if address.version == 4:
        return int.from_bytes(data, "little")
    first, second = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
    return (first * HASH6_ODD & WORD) ^ second


def _mix(value: int) -> int:
    """Apply the finalizer of MurmurHash3 (A. Appleby, public domain)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & WORD
    return value ^ value >> 33
