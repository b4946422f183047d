# SPDX-License-Identifier: Apache-2.0
"""The outer form of a datagram: a header, a body, and a keyed hash over both.

    magic "xP" | version | type | name of the key (4) | sender (8) | number (8) | body | HMAC-SHA256, cut to 16 bytes

All numbers are in network order. `sender` is the beginning of the sender's nonce for this link. Types and versions that
are not known are skipped, so that nodes of several versions understand each other while they are upgraded one by one.
A hash of 16 bytes is what RFC 4868 has for IPsec.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "BODY_BYTES",
    "HELLO_VERSION",
    "MOST_BYTES",
    "NONCE_BYTES",
    "SENDER_BYTES",
    "Header",
    "Kind",
    "Refused",
    "is_signed",
    "opened",
    "signed",
]

MOST_BYTES = 1352
"""The longest datagram: with the headers of IPv6 and UDP 1400 bytes, so that it also passes tunnels in one piece."""

NONCE_BYTES = 16
SENDER_BYTES = 8
HELLO_VERSION = 1
_MAGIC = b"xP"
_HEADER = struct.Struct("!2sBB4s8sQ")
_MAC_BYTES = 16

BODY_BYTES = MOST_BYTES - _HEADER.size - _MAC_BYTES
"""The longest body."""


class Kind(IntEnum):
    """What a datagram is. The numbers are never used for anything else."""

    HELLO = 1
    RECORDS = 2
    HINTS = 3


class Header(NamedTuple):
    """The header of a datagram; `kind` may be one that is not known."""

    version: int
    kind: int
    key: bytes
    sender: bytes
    number: int


class Refused(Exception):  # noqa: N818 - it is no error: anybody can send anything
    """A datagram is of no use; `reason` is a label of a metric, and never changes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def signed(header: Header, body: bytes, mac_key: bytes) -> bytes:
    """Return the datagram with this header and body."""
    head = _HEADER.pack(_MAGIC, *header) + body
    return head + hmac.digest(mac_key, head, hashlib.sha256)[:_MAC_BYTES]


def opened(datagram: bytes) -> tuple[Header, bytes]:
    """Return header and body of a datagram, whose hash nobody has looked at yet. Raises Refused for what is none."""
    if not _HEADER.size + _MAC_BYTES <= len(datagram) <= MOST_BYTES:
        raise Refused("malformed")
    magic, *fields = _HEADER.unpack_from(datagram)
    if magic != _MAGIC:
        raise Refused("malformed")
    return Header(*fields), datagram[_HEADER.size : -_MAC_BYTES]


def is_signed(datagram: bytes, mac_key: bytes) -> bool:
    """Return whether the datagram was signed with this key. It takes the same time for all wrong hashes."""
    made = hmac.digest(mac_key, datagram[:-_MAC_BYTES], hashlib.sha256)[:_MAC_BYTES]
    return hmac.compare_digest(made, datagram[-_MAC_BYTES:])
