"""The IPv4 header (RFC 791, section 3.1)."""

from __future__ import annotations

from ipaddress import IPv4Address

from .packet import ICMP, TCP, UDP, Fragmented, Packet
from .reasons import BadPacket, Reason, Stop
from .transport import with_ports

__all__ = ["DF", "HEADER", "parse_ipv4"]

HEADER = 20
DF = 0x4000  # "don't fragment"
MORE_FRAGMENTS = 0x2000
OFFSET = 0x1FFF


def parse_ipv4(frame: bytes, link: bytes, rest: bytes) -> Packet:
    """Return the packet that `rest`, what follows the link's header, begins with.

    RFC 1122, section 3.2.1.1: "A datagram whose version number is not 4 MUST be silently discarded" - by the host, to
    which it is left. The header's own lengths are judged before the protocol; its checksum only where a VIP was found.
    """
    if len(rest) < HEADER or rest[0] >> 4 != 4:
        raise Stop(Reason.PASS_MALFORMED)
    header_length = (rest[0] & 0x0F) * 4
    total_length = int.from_bytes(rest[2:4], "big")
    source, destination = IPv4Address(rest[12:16]), IPv4Address(rest[16:20])
    if not HEADER <= header_length <= total_length <= len(rest):
        raise BadPacket(destination)
    protocol = rest[9]
    if protocol not in {ICMP, TCP, UDP}:
        raise Stop(Reason.PASS_NOT_TCP_UDP)
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
        fragment_protocol=protocol,
    )
    return with_ports(packet)


def _fragmented(fragmentation: int) -> Fragmented:
    if fragmentation & OFFSET:
        return Fragmented.LATER
    return Fragmented.FIRST if fragmentation & MORE_FRAGMENTS else Fragmented.WHOLE
