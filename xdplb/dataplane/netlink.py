# SPDX-License-Identifier: Apache-2.0
"""The parts of netlink messages, for what the data plane asks of the kernel itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["ERROR", "HEADER", "REQUEST", "attributes", "errno_in"]

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

REQUEST = 0x001  # NLM_F_REQUEST
ERROR = 2  # NLMSG_ERROR

_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_TYPE = 0x3FFF  # NLA_TYPE_MASK


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute, up to one that is cut short."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _ATTRIBUTE_TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def errno_in(body: bytes) -> int:
    """Return the errno in the body of an ERROR, 0 for an acknowledgement."""
    return -int.from_bytes(body[:4], "little", signed=True)
