# SPDX-License-Identifier: Apache-2.0
"""The hash of a flow. All balancers of a cluster compute the same."""

from __future__ import annotations

from xdplb.balance.hashing import HASH_SEED

from .packet import Packet

__all__ = ["hash_flow"]

HASH6_ODD = 0x9FB21C651E98DF25
WORD = (1 << 64) - 1


def hash_flow(packet: Packet, by_source: bool) -> int:
    """Return the 64-bit hash of the packet's source and, unless `by_source`, both ports.

    The words are as a little-endian CPU reads them from the packet.
    """
    ports = packet.source_port.to_bytes(2, "big") + packet.destination_port.to_bytes(2, "big")
    key = 0 if by_source else int.from_bytes(ports, "little") << 32
    source = packet.source.packed
    if packet.version == 4:
        return _mix(key ^ int.from_bytes(source, "little") ^ HASH_SEED)
    first, second = int.from_bytes(source[:8], "little"), int.from_bytes(source[8:], "little")
    return _mix(key ^ (first * HASH6_ODD & WORD) ^ second ^ HASH_SEED)


def _mix(value: int) -> int:
    """Apply the finalizer of MurmurHash3 (A. Appleby, public domain)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & WORD
    return value ^ value >> 33
