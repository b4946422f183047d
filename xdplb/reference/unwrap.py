# SPDX-License-Identifier: Apache-2.0
"""Tunnels that end at the balancer: what is inside is balanced, once the outer headers are cut off.

IPv4 and IPv6 in both (RFC 2003, RFC 2473, RFC 4213), directly or in GUE (draft-ietf-intarea-gue).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from xdplb.dataplane.features import Feature
from xdplb.model.address import IPAddress

from . import checksum, parse_ipv4, parse_ipv6
from .journey import Journey
from .martian import is_link_local, is_martian
from .packet import GUE_PORT, ICMPV6, IPV4_IN_IP, IPV6_IN_IP, UDP
from .parse import IPV4, IPV6, MAC_GROUP, link_header
from .reasons import Reason, Stop

__all__ = ["unwrap"]

FRAGMENT_BITS = 0x3FFF  # more fragments follow, or it is not the first one
UDP_HEADER, GUE_HEADER = 8, 4
DIRECT, WITH_HEADER = 1, 0
"""Variants of GUE. In DIRECT the packet follows UDP's header: its version, 4 or 6, begins with these two bits."""

ECN = 0x03
NOT_ECT, ECT1, ECT0, CE = range(4)
DISCOVERY = range(133, 138)
"""The types of ICMPv6 that are neighbour discovery (RFC 4861)."""

NEIGHBOUR_HOPS = 255


@dataclass(frozen=True)
class _Outer:
    """An outer packet: where its IP header ends in what follows the Ethernet header, and what it carries."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    ecn: int
    header: int
    payload: bytes


def unwrap(journey: Journey) -> None:
    """Take the packet out of its tunnel, if that ends here; raise Stop if it goes no further.

    A tunnel in the tunnel is left for the host.
    """
    if Feature.DECAP not in journey.config.features:
        return
    link = link_header(journey.frame, journey.config.features)
    rest = journey.frame[len(link) :]
    if link[0] & MAC_GROUP or not _is_tunnel(link[-2:], rest):
        return
    source, destination = _addresses(link[-2:], rest)
    if destination not in journey.config.decap.at:
        return
    if not journey.config.decap.allows(source):
        raise Stop(Reason.DROP_TUNNEL_SOURCE)
    outer = _outer_ipv4(rest) if link[-2:] == IPV4 else _outer_ipv6(rest)
    protocol, more, inner = (outer.protocol, 0, outer.payload) if outer.protocol != UDP else _in_udp(outer)
    _check_inner(protocol, inner)
    version = 4 if protocol == IPV4_IN_IP else 6
    cut = outer.header + more
    ready = _ready_ipv4(rest[cut:], outer.ecn) if version == 4 else _ready_ipv6(rest[cut:], outer.ecn)
    journey.frame = link[:-2] + (IPV4 if version == 4 else IPV6) + ready
    journey.headroom += cut
    journey.effects.counts["unwrapped", 0, "packets"] += 1


def _is_tunnel(ethertype: bytes, rest: bytes) -> bool:
    """Whether it is IPIP, or GUE that is not a fragment: what else is sent to the balancer's address is the host's."""
    if ethertype not in {IPV4, IPV6} or len(rest) < (parse_ipv4.HEADER if ethertype == IPV4 else parse_ipv6.HEADER):
        return False
    protocol = rest[9] if ethertype == IPV4 else rest[6]
    if protocol in {IPV4_IN_IP, IPV6_IN_IP}:
        return True
    at = (rest[0] & 0x0F) * 4 if ethertype == IPV4 else parse_ipv6.HEADER
    is_fragment = ethertype == IPV4 and bool(int.from_bytes(rest[6:8], "big") & FRAGMENT_BITS)
    udp = rest[at : at + UDP_HEADER]
    is_gue = len(udp) == UDP_HEADER and int.from_bytes(udp[2:4], "big") == GUE_PORT
    return protocol == UDP and not is_fragment and is_gue


def _addresses(ethertype: bytes, rest: bytes) -> tuple[IPAddress, IPAddress]:
    """Return source and destination; those of a packet to an IPv4 address in the clothes of IPv6 are IPv4's."""
    if ethertype == IPV4:
        return IPv4Address(rest[12:16]), IPv4Address(rest[16:20])
    source, destination = IPv6Address(rest[8:24]), IPv6Address(rest[24:40])
    if destination.ipv4_mapped is None:
        return source, destination
    return source.ipv4_mapped or source, destination.ipv4_mapped


def _outer_ipv4(rest: bytes) -> _Outer:
    """Return the outer packet; raise Stop where a host would not take it.

    RFC 1122, section 3.2.1.2: "A host MUST verify the IP header checksum on every received datagram and silently
    discard every datagram that has a bad checksum."
    """
    header, total = (rest[0] & 0x0F) * 4, int.from_bytes(rest[2:4], "big")
    if int.from_bytes(rest[6:8], "big") & FRAGMENT_BITS:
        raise Stop(Reason.PASS_TUNNEL)
    if rest[0] >> 4 != 4 or not parse_ipv4.HEADER <= header <= total <= len(rest):
        raise Stop(Reason.PASS_TUNNEL)
    if header != parse_ipv4.HEADER:
        raise Stop(Reason.PASS_TUNNEL)  # no tunnel's end sends options, and the program does without
    if not checksum.is_right(rest[:header]):
        raise Stop(Reason.DROP_BAD_CHECKSUM)
    source, destination = IPv4Address(rest[12:16]), IPv4Address(rest[16:20])
    _check_outer(source, destination)
    return _Outer(source, destination, rest[9], rest[1] & ECN, header, rest[header:total])


def _outer_ipv6(rest: bytes) -> _Outer:
    total = parse_ipv6.HEADER + int.from_bytes(rest[4:6], "big")
    if rest[0] >> 4 != 6 or total > len(rest):
        raise Stop(Reason.PASS_TUNNEL)
    source, destination = IPv6Address(rest[8:24]), IPv6Address(rest[24:40])
    _check_outer(source, destination)
    payload = rest[parse_ipv6.HEADER : total]
    return _Outer(source, destination, rest[6], rest[1] >> 4 & ECN, parse_ipv6.HEADER, payload)


def _check_outer(source: IPAddress, destination: IPAddress) -> None:
    if is_martian(source) or source == destination:
        raise Stop(Reason.DROP_MARTIAN)


def _in_udp(outer: _Outer) -> tuple[int, int, bytes]:
    """Return the protocol of what is in GUE, the bytes of UDP's and GUE's headers, and what follows them.

    A UDP checksum of 0 is none, in IPv6 too: RFC 6935 allows it for tunnels.
    """
    udp = outer.payload
    length = int.from_bytes(udp[4:6], "big")
    if len(udp) < UDP_HEADER or not UDP_HEADER < length <= len(udp):
        raise Stop(Reason.PASS_TUNNEL)
    pseudo = outer.source.packed + outer.destination.packed + length.to_bytes(4, "big") + bytes([0, 0, 0, UDP])
    if udp[6:8] != bytes(2) and not checksum.is_right(pseudo + udp[:length]):
        raise Stop(Reason.DROP_BAD_CHECKSUM)
    data = udp[UDP_HEADER:length]
    if data[0] >> 6 == DIRECT:
        return IPV4_IN_IP if data[0] >> 4 == 4 else IPV6_IN_IP, UDP_HEADER, data
    is_plain = data[0] == WITH_HEADER << 6 and len(data) >= GUE_HEADER and data[2:4] == bytes(2)
    if not is_plain:  # a version that is not known, optional fields, or a control message
        raise Stop(Reason.PASS_TUNNEL)
    return data[1], UDP_HEADER + GUE_HEADER, data[GUE_HEADER:]


def _check_inner(protocol: int, inner: bytes) -> None:
    """Stop what is not a whole packet of the version that its tunnel says."""
    if protocol == IPV4_IN_IP:
        header, total = (inner[:1] or b"\0")[0] % 16 * 4, int.from_bytes(inner[2:4], "big")
        is_whole = inner[:1] >= b"\x40" and inner[0] >> 4 == 4 and parse_ipv4.HEADER <= header <= total <= len(inner)
    else:
        total = parse_ipv6.HEADER + int.from_bytes(inner[4:6], "big")
        is_whole = protocol == IPV6_IN_IP and inner[:1] != b"" and inner[0] >> 4 == 6 and total <= len(inner)
    if not is_whole:
        raise Stop(Reason.PASS_TUNNEL)


def _ready_ipv4(inner: bytes, outer_ecn: int) -> bytes:
    """Return the inner packet, with what follows it in the frame, as it comes out; raise Stop if it must not."""
    if is_martian(IPv4Address(inner[12:16])) or is_martian(IPv4Address(inner[16:20])):
        raise Stop(Reason.DROP_MARTIAN)
    merged = _merged_ecn(outer_ecn, inner[1] & ECN)
    after = inner[:1] + bytes([inner[1] & ~ECN | merged]) + inner[2:]
    return _one_hop_further(_with_header_checksum(inner, after, 0) if after != inner else inner, 8)


def _ready_ipv6(inner: bytes, outer_ecn: int) -> bytes:
    source, destination = IPv6Address(inner[8:24]), IPv6Address(inner[24:40])
    is_low = destination.is_unspecified or destination.is_loopback or destination.ipv4_mapped is not None
    is_near = is_link_local(source) or is_link_local(destination) or _may_discover(inner)
    if is_martian(source) or destination.is_multicast or is_low or is_near:
        raise Stop(Reason.DROP_MARTIAN)
    merged = _merged_ecn(outer_ecn, inner[1] >> 4 & ECN)
    return _one_hop_further(inner[:1] + bytes([inner[1] & ~(ECN << 4) | merged << 4]) + inner[2:], 7)


def _one_hop_further(inner: bytes, at: int) -> bytes:
    """Return the inner packet with the TTL or hop limit at `at` one less; the last hop is left for `check_packet`.

    RFC 2003, section 3.1: "If, after decapsulation, the decapsulator forwards the datagram to one of its network
    interfaces, it will decrement the TTL as a result of doing normal IP forwarding."
    """
    if inner[at] <= 1:
        return inner
    after = inner[:at] + bytes([inner[at] - 1]) + inner[at + 1 :]
    return _with_header_checksum(inner, after, at) if inner[0] >> 4 == 4 else after


def _merged_ecn(outer: int, inner: int) -> int:
    """Return the ECN field of RFC 6040, figure 4; raise Stop where it says to drop the packet."""
    if inner == NOT_ECT and outer == CE:
        raise Stop(Reason.DROP_ECN)
    if inner in {NOT_ECT, CE} or outer not in {CE, ECT1}:
        return inner
    return outer


def _may_discover(inner: bytes) -> bool:
    """Whether this may be neighbour discovery, which only those on the link may send (RFC 4861, section 3.1).

    It may be where its header is not found. That is not in any but the first fragment (RFC 6980).
    """
    kind, at = inner[6], parse_ipv6.HEADER
    if inner[7] != NEIGHBOUR_HOPS:
        return False
    for _ in range(parse_ipv6.MAX_EXTENSIONS + 1):
        header = inner[at:]
        if kind != ICMPV6 and kind not in parse_ipv6.EXTENSIONS:
            return False
        if len(header) < parse_ipv6.SMALLEST_EXTENSION:
            return True
        if kind == ICMPV6:
            return header[0] in DISCOVERY
        if kind == parse_ipv6.FRAGMENT and int.from_bytes(header[2:4], "big") & parse_ipv6.OFFSET:
            return False
        at += parse_ipv6.extension_length(kind, header[1])
        kind = header[0]
    return True


def _with_header_checksum(before: bytes, after: bytes, at: int) -> bytes:
    """Return an IPv4 packet with its header's checksum updated for the word at `at`, which has changed."""
    was, now = int.from_bytes(before[at : at + 2], "big"), int.from_bytes(after[at : at + 2], "big")
    updated = checksum.updated_checksum(int.from_bytes(before[10:12], "big"), was, now)
    return after[:10] + updated.to_bytes(2, "big") + after[12:]
