# SPDX-License-Identifier: Apache-2.0
"""Hints: a backend's health flipped at one node, so the others check it at once. A hint never decides anything."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.address import IPAddress

__all__ = ["Hint", "decode_hints", "encode_hints"]

_HEAD = struct.Struct("!BBBB")
"""The length of what follows, whether it is up, the bytes of the address, the bytes of the VIP's key."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The backend at this address of a VIP, by its key, came up or went down; "" is for all VIPs that it is of."""

    vip: str
    backend: IPAddress
    is_up: bool


def encode_hints(hints: Iterable[Hint], most: int) -> Iterator[bytes]:
    """Yield bodies of at most `most` bytes with these hints."""
    body = b""
    for hint in hints:
        address, vip = hint.backend.packed, hint.vip.encode()
        each = _HEAD.pack(2 + 1 + len(address) + len(vip), hint.is_up, len(address), len(vip)) + address + vip
        if len(body) + len(each) > most:
            yield body
            body = b""
        body += each
    if body:
        yield body


def decode_hints(body: bytes) -> list[Hint]:
    """Return the hints in a body. What a newer version adds to one is skipped. Raises ValueError if it is malformed."""
    hints, at = [], 0
    while at < len(body):
        if len(body) - at < _HEAD.size:
            raise ValueError("a hint is cut short")
        length, is_up, address_bytes, vip_bytes = _HEAD.unpack_from(body, at)
        end = at + 1 + length
        at += _HEAD.size
        if end > len(body) or at + address_bytes + vip_bytes > end:
            raise ValueError("a hint is cut short")
        address = _address(body[at : at + address_bytes])
        vip = body[at + address_bytes : at + address_bytes + vip_bytes].decode()  # an error is a ValueError
        hints.append(Hint(vip, address, bool(is_up)))
        at = end
    return hints


def _address(packed: bytes) -> IPAddress:
    if len(packed) not in {4, 16}:
        raise ValueError("a hint has no address")
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
