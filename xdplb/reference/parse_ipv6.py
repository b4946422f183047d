# SPDX-License-Identifier: Apache-2.0
"""The IPv6 header and its extension headers (RFC 8200, sections 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from .packet import Fragmented, Packet
from .parse_transport import with_ports
from .reasons import BadPacket, Reason, Stop

__all__ = [
    "EXTENSIONS",
    "FRAGMENT",
    "HEADER",
    "MAX_EXTENSIONS",
    "OFFSET",
    "SMALLEST_EXTENSION",
    "extension_length",
    "parse_ipv6",
    "refused_extension",
]

HEADER = 40
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION}
MAX_EXTENSIONS = 6
SMALLEST_EXTENSION = 8
FRAGMENT_HEADER = 8
SEGMENTS_LEFT_AT = 3
OFFSET = 0xFFF8


@dataclass(frozen=True)
class _Walk:
    """Where the extension headers end, which protocol follows, and what a fragment header among them says."""

    end: int
    protocol: int
    fragmented: Fragmented = Fragmented.WHOLE
    fragment_id: int = 0
    fragment_offset: int = 0


def parse_ipv6(frame: bytes, link: bytes, rest: bytes) -> Packet:
    """Return the packet at the beginning of `rest`, which is what follows the Ethernet header."""
    if len(rest) < HEADER or rest[0] >> 4 != 6:
        raise Stop(Reason.PASS_MALFORMED)
    length = HEADER + int.from_bytes(rest[4:6], "big")
    source, destination = IPv6Address(rest[8:24]), IPv6Address(rest[24:40])
    if length > len(rest):
        raise BadPacket(destination)
    ip = rest[:length]
    walk = _walk_extensions(ip, destination)
    packet = Packet(
        frame=frame,
        link=link,
        version=6,
        ip=ip,
        payload=ip[walk.end :],
        source=source,
        destination=destination,
        protocol=walk.protocol,
        traffic_class=int.from_bytes(rest[:2], "big") >> 4 & 0xFF,
        hop_limit=rest[7],
        fragmented=walk.fragmented,
        fragment_id=walk.fragment_id,
        fragment_offset=walk.fragment_offset,
    )
    return with_ports(packet)


def _walk_extensions(ip: bytes, destination: IPv6Address) -> _Walk:
    """Skip the extension headers, at most MAX_EXTENSIONS of them.

    RFC 8504, section 5.3, lets a host limit their number, because each costs time.
    """
    walk = _Walk(end=HEADER, protocol=ip[6])
    for _ in range(MAX_EXTENSIONS):
        if walk.protocol not in EXTENSIONS:
            return walk
        walk = _step(ip, walk, destination)
        if walk.fragmented is Fragmented.LATER:
            return walk
    if walk.protocol in EXTENSIONS:
        raise BadPacket(destination, Reason.DROP_EXTENSION)
    return walk


def _step(ip: bytes, walk: _Walk, destination: IPv6Address) -> _Walk:
    """Skip one extension header. All begin with the next header's type and, except for fragments, a length."""
    header = ip[walk.end :]
    if len(header) < SMALLEST_EXTENSION or extension_length(walk.protocol, header[1]) > len(header):
        raise BadPacket(destination)
    refused = refused_extension(walk.protocol, header, is_first=walk.end == HEADER)
    if refused is not None:
        raise BadPacket(destination, refused)
    end = walk.end + extension_length(walk.protocol, header[1])
    offset_and_more = int.from_bytes(header[2:4], "big")
    fragmented = _fragmented(offset_and_more)
    if walk.protocol != FRAGMENT or fragmented is Fragmented.WHOLE:
        return _Walk(end, header[0], walk.fragmented, walk.fragment_id, walk.fragment_offset)
    return _Walk(end, header[0], fragmented, int.from_bytes(header[4:8], "big"), offset_and_more & OFFSET)


def refused_extension(kind: int, header: bytes, *, is_first: bool) -> Reason | None:
    """Return why a packet with this extension header goes no further, None if it does.

    A routing header with segments left: the packet is not for who has the address, but is to be sent on to others.
    RFC 5095 forbids that for type 0, and no host behind a VIP is a waypoint of the other types. RFC 8200, section 4.4,
    has it discarded; without segments left, the header is ignored, whatever its type.

    RFC 8200, section 4.1: hop-by-hop options are "restricted to appear immediately after an IPv6 header only".
    """
    if kind == ROUTING and header[SEGMENTS_LEFT_AT]:
        return Reason.DROP_SOURCE_ROUTE
    return Reason.DROP_EXTENSION if kind == HOP_BY_HOP and not is_first else None


def extension_length(kind: int, length_field: int) -> int:
    """Return the length of an extension header in bytes; AH alone counts in words of 4 (RFC 4302, section 2.2)."""
    if kind == FRAGMENT:
        return FRAGMENT_HEADER
    return (length_field + 2) * 4 if kind == AUTHENTICATION else (length_field + 1) * 8


def _fragmented(offset_and_more: int) -> Fragmented:
    """Return which fragment a fragment header announces.

    RFC 6946, section 4: a packet with offset 0 and no more fragments (an "atomic fragment") is whole.
    """
    if offset_and_more & OFFSET:
        return Fragmented.LATER
    return Fragmented.FIRST if offset_and_more & 1 else Fragmented.WHOLE
