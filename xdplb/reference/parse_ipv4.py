# SPDX-License-Identifier: Apache-2.0
"""The IPv4 header (RFC 791, section 3.1)."""

from __future__ import annotations

from ipaddress import IPv4Address

from .packet import Fragmented, Packet
from .parse_transport import with_ports
from .reasons import BadPacket, Reason, Stop

__all__ = ["DF", "HEADER", "parse_ipv4"]

HEADER = 20
DF = 0x4000  # "don't fragment"
MORE_FRAGMENTS = 0x2000
OFFSET = 0x1FFF
OFFSET_UNIT = 8  # bytes
END_OF_OPTIONS, NO_OPERATION = 0, 1  # the two options of a single byte (RFC 791, section 3.1)
SOURCE_ROUTES = {131, 137}  # loose and strict (LSRR, SSRR)


def parse_ipv4(frame: bytes, link: bytes, rest: bytes) -> Packet:
    """Return the packet at the beginning of `rest`, which is what follows the Ethernet header.

    RFC 1122, section 3.2.1.1: "A datagram whose version number is not 4 MUST be silently discarded" - by the host, to
    which it is passed. The checksum is checked later, and only if the packet is ours.
    """
    if len(rest) < HEADER or rest[0] >> 4 != 4:
        raise Stop(Reason.PASS_MALFORMED)
    header_length = (rest[0] & 0x0F) * 4
    total_length = int.from_bytes(rest[2:4], "big")
    source, destination = IPv4Address(rest[12:16]), IPv4Address(rest[16:20])
    if not HEADER <= header_length <= total_length <= len(rest):
        raise BadPacket(destination)
    if _has_source_route(rest[HEADER:header_length]):
        raise BadPacket(destination, Reason.DROP_SOURCE_ROUTE)
    protocol = rest[9]
    fragmentation = int.from_bytes(rest[6:8], "big")
    packet = Packet(
        frame=frame,
        link=link,
        version=4,
        ip=rest[:total_length],
        payload=rest[header_length:total_length],
        source=source,
        destination=destination,
        protocol=protocol,
        traffic_class=rest[1],
        hop_limit=rest[8],
        fragmented=_fragmented(fragmentation),
        fragment_id=int.from_bytes(rest[4:6], "big"),
        fragment_offset=(fragmentation & OFFSET) * OFFSET_UNIT,
    )
    return with_ports(packet)


def _has_source_route(options: bytes) -> bool:
    """Whether the sender wants the packet to go by a way of its own.

    RFC 7126, sections 4.3.5 and 4.4.5: packets with LSRR or SSRR "should be dropped". Options of which one has no right
    length end there: what is behind it no host reads.
    """
    at = 0
    while at < len(options) and options[at] != END_OF_OPTIONS:
        if options[at] in SOURCE_ROUTES:
            return True
        length = 1 if options[at] == NO_OPERATION else int.from_bytes(options[at + 1 : at + 2], "big")
        if length < (1 if options[at] == NO_OPERATION else 2):
            return False
        at += length
    return False


def _fragmented(fragmentation: int) -> Fragmented:
    if fragmentation & OFFSET:
        return Fragmented.LATER
    return Fragmented.FIRST if fragmentation & MORE_FRAGMENTS else Fragmented.WHOLE
