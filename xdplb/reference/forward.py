# SPDX-License-Identifier: Apache-2.0
"""What is sent, and by which NIC: new MACs (DR), also a new destination (NAT), or outer headers (IPIP, GUE)."""

from __future__ import annotations

from ipaddress import IPv4Address

from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Forward

from . import checksum, parse_ipv4
from .journey import Journey
from .martian import is_link_local
from .nat import rewritten_request
from .packet import GUE_PORT, IPV4_IN_IP, IPV6_IN_IP, UDP, Packet
from .reasons import Reason, Stop
from .too_big import answer_too_big

__all__ = ["forward"]

OUTER_TTL = 64
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
OUTER_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
GUE_FIRST_SOURCE_PORT, GUE_SOURCE_PORTS = 0xC000, 0x3FFF
MTU_FIELD = 0xFFFF
VLAN_ID = 0x0FFF  # of a tag's last two bytes; the rest is priority (IEEE 802.1Q, 9.6)


def forward(journey: Journey, packet: Packet, backend: BackendEntry, hashed: int) -> tuple[bytes, int]:
    """Return the frame for the backend and the ifindex it is sent out by, or raise Stop."""
    hop = backend.next_hop
    assert hop is not None, "a backend without a next hop is not usable"
    if is_link_local(packet.sender) and _leaves_link(journey, packet, backend, hop):
        raise Stop(Reason.DROP_MARTIAN)
    if backend.forward is Forward.NAT and packet.is_icmp_error and Feature.CAPTURE in journey.config.features:
        raise Stop(Reason.PASS_NOT_TCP_UDP)  # the kernel's verifier cannot go through a program that does both
    outer = _outer_headers(packet, backend, hop, hashed)
    mtu = min(hop.mtu, MTU_FIELD)
    if len(outer) + len(packet.ip) > mtu:
        raise answer_too_big(journey, packet, mtu - len(outer))
    version = backend.address.version if outer else packet.version
    tags = _tags(packet, backend, hop)
    link = hop.destination_mac + hop.source_mac + tags + ETHERTYPES[version]
    rest = packet.frame[len(packet.link) :]
    if backend.forward is Forward.NAT:
        rest = rewritten_request(packet, backend) + rest[len(packet.ip) :]
    if len(link) + len(outer) - len(packet.link) > journey.headroom:
        raise Stop(Reason.DROP_NO_HEADROOM)
    frame = link + outer + rest
    if hop.ifindex != journey.ifindex and hop.ifindex not in journey.config.interfaces:
        raise Stop(Reason.DROP_INTERNAL, frame)
    return frame, hop.ifindex


def _leaves_link(journey: Journey, packet: Packet, backend: BackendEntry, hop: NextHop) -> bool:
    """Whether the packet goes to another link than the one it came from: another NIC, another VLAN, or a tunnel."""
    is_other_vlan = _without_priority(_tags(packet, backend, hop)) != _without_priority(packet.tags)
    return backend.forward is not Forward.DR or hop.ifindex != journey.ifindex or is_other_vlan


def _without_priority(tags: bytes) -> list[tuple[bytes, int]]:
    starts = range(0, len(tags), 4)
    return [(tags[at : at + 2], int.from_bytes(tags[at + 2 : at + 4], "big") & VLAN_ID) for at in starts]


def _tags(packet: Packet, backend: BackendEntry, hop: NextHop) -> bytes:
    """Return the tags to send the packet with: its own, or those of the way to the backend, with priority 0."""
    if backend.keep_tags:
        return packet.tags
    return b"".join(tag.type.to_bytes(2, "big") + tag.id.to_bytes(2, "big") for tag in hop.tags)


def _outer_headers(packet: Packet, backend: BackendEntry, hop: NextHop, hashed: int) -> bytes:
    """Return what goes between the Ethernet header and the packet; the backend's address says which IP version."""
    if backend.forward in {Forward.DR, Forward.NAT}:
        return b""
    inner = IPV4_IN_IP if packet.version == 4 else IPV6_IN_IP
    protocol, udp = inner, b""
    if backend.forward is Forward.GUE:
        protocol, udp = UDP, _gue_header(packet, hashed)
    source = _outer_source(backend, hop, hashed)
    if backend.address.version == 4:
        return _outer_ipv4(packet, source, backend, protocol, len(udp)) + udp
    return _outer_ipv6(packet, source, backend, protocol, len(udp), hashed=hashed) + udp


def _outer_source(backend: BackendEntry, hop: NextHop, hashed: int) -> bytes:
    """Return the outer source address, its last bits filled with the flow's hash where the backend's mask has bits.

    Receivers spread packets over their queues by address, and without it all addresses would be the same.
    """
    source = (backend.source or hop.source).packed
    filling = (hashed & 0xFFFFFFFF).to_bytes(4, "little")
    mask = backend.source_mask.to_bytes(4, "big")
    last = bytes(own | bits & chosen for own, bits, chosen in zip(source[-4:], filling, mask, strict=True))
    return source[:-4] + last


def _outer_ipv4(packet: Packet, source: bytes, backend: BackendEntry, protocol: int, more: int) -> bytes:
    """Return the outer header of RFC 2003, section 3.1.

    DSCP and ECN are copied from the inner packet (RFC 6040, section 4.1, normal mode). Since DF is set, the id has no
    meaning and is 0 (RFC 6864, section 4.1).
    """
    total = OUTER_HEADER[4] + more + len(packet.ip)
    header = (
        bytes([0x45, packet.traffic_class]) + total.to_bytes(2, "big") + bytes(2) + parse_ipv4.DF.to_bytes(2, "big")
    )
    header += bytes([OUTER_TTL, protocol, 0, 0]) + IPv4Address(source).packed + backend.address.packed
    return header[:10] + checksum.internet_checksum(header).to_bytes(2, "big") + header[12:]


def _outer_ipv6(
    packet: Packet, source: bytes, backend: BackendEntry, protocol: int, more: int, *, hashed: int
) -> bytes:
    """Return the outer header of RFC 2473; the flow label carries the hash (RFC 6438)."""
    first = 6 << 28 | packet.traffic_class << 20 | hashed & 0xFFFFF
    length = more + len(packet.ip)
    fields = first.to_bytes(4, "big") + length.to_bytes(2, "big") + bytes([protocol, OUTER_TTL])
    return fields + source + backend.address.packed


def _gue_header(packet: Packet, hashed: int) -> bytes:
    """Return the UDP header of GUE variant 1, which the IP packet directly follows; its version tells which.

    draft-ietf-intarea-gue, which Linux's fou understands. The source port carries the hash, and the checksum is 0, in
    IPv6 too (RFC 6935): the inner packet has its own.
    """
    source_port = GUE_FIRST_SOURCE_PORT | hashed & GUE_SOURCE_PORTS
    numbers = (source_port, GUE_PORT, UDP_HEADER + len(packet.ip), 0)
    return b"".join(number.to_bytes(2, "big") for number in numbers)
