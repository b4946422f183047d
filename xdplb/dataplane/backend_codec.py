"""Backends as the maps hold them, and what of the outer IPv4 header's checksum is known beforehand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

import numpy as np
from numpy.typing import NDArray

from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward

from . import layout
from .plane import BackendEntry

__all__ = ["checksum_base", "decode", "encode"]

FORWARD_NUMBERS = {Forward.DR: layout.FORWARD_DR, Forward.IPIP: layout.FORWARD_IPIP}
FORWARDS = {number: forward for forward, number in FORWARD_NUMBERS.items()}
OUTER_TTL = 64
PROTOCOL_IPIP = 4


def checksum_base(source: IPv4Address, destination: IPv4Address) -> int:
    """Return the sum of the outer header's words that no packet changes, as layout.h defines it.

    The checksum of an IPv4 header is a sum of 16-bit words in one's complement, which may be taken in any order and
    in either byte order (RFC 1071, section 2), so that the constant words are added once, here.
    """
    constant = struct.pack("!BBBB4s4s", 0x45, 0, OUTER_TTL, PROTOCOL_IPIP, source.packed, destination.packed)
    return sum(struct.unpack("<6H", constant))


def encode(backends: Sequence[BackendEntry]) -> NDArray[np.void]:
    """Return the values for the `backends` map, one a backend."""
    values = np.zeros(len(backends), layout.BACKEND)
    for value, backend in zip(values, backends, strict=True):
        value["epoch"] = backend.epoch
        value["vip"] = backend.vip_id
        value["address"] = int(backend.address)
        value["forward"] = FORWARD_NUMBERS[backend.forward]
        if backend.next_hop is not None:
            _encode_next_hop(value, backend, backend.next_hop)
    return values


def _encode_next_hop(value: np.void, backend: BackendEntry, next_hop: NextHop) -> None:
    source = backend.source if backend.source is not None else next_hop.source
    value["flags"] = layout.BACKEND_USABLE if backend.usable else 0
    value["destination_mac"] = list(next_hop.destination_mac)
    value["source_mac"] = list(next_hop.source_mac)
    value["ifindex"] = next_hop.ifindex
    value["mtu"] = min(next_hop.mtu, 0xFFFF)
    value["source"] = int(source)
    value["source_mask"] = backend.source_mask
    value["checksum"] = checksum_base(source, backend.address)


def decode(backend_id: int, value: np.void) -> BackendEntry:
    """Return the backend in a value of the `backends` map. An outer source of its own is told by its mask."""
    source = IPv4Address(int(value["source"]))
    mask = int(value["source_mask"])
    next_hop = None
    if value["ifindex"]:
        next_hop = NextHop(
            destination_mac=bytes(value["destination_mac"]),
            source_mac=bytes(value["source_mac"]),
            interface="",
            ifindex=int(value["ifindex"]),
            mtu=int(value["mtu"]),
            source=source,
        )
    return BackendEntry(
        id=backend_id,
        epoch=int(value["epoch"]),
        vip_id=int(value["vip"]),
        address=IPv4Address(int(value["address"])),
        forward=FORWARDS[int(value["forward"])],
        usable=bool(value["flags"] & layout.BACKEND_USABLE),
        next_hop=next_hop,
        source=source if mask else None,
        source_mask=mask,
    )
