# SPDX-License-Identifier: Apache-2.0
"""ICMP as far as packets are classified by it: pings, and errors about packets that a backend has sent.

An error must reach the backend that it is about. Path MTU discovery depends on it (RFC 1191, RFC 8201): without it, a
connection over a path with a smaller MTU hangs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.address import IPAddress

from . import parse_ipv4, parse_ipv6
from .packet import GUE_PORT, IPV4_IN_IP, IPV6_IN_IP, TCP, UDP, Packet

__all__ = ["ECHO_REPLY", "ECHO_REQUEST", "ICMP_HEADER", "is_about_tunnel", "is_ping", "quote_of", "turned_round"]

ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}

ERRORS = {4: {3, 11, 12}, 6: {1, 2, 3, 4}}
"""Destination unreachable, time exceeded, parameter problem (RFC 792); and packet too big, by ICMPv6 (RFC 4443)."""

ICMP_HEADER = 8
QUOTED_PORTS = 8
"""RFC 792 quotes "the first 64 bits of the original datagram's data": enough for the ports."""


@dataclass(frozen=True)
class _Quoted:
    """The packet that an error quotes, as it was sent by the VIP."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    transport: bytes


def is_ping(packet: Packet) -> bool:
    """Whether this is an echo request in its plain form: without IPv4 options, without IPv6 extension headers."""
    plain = parse_ipv4.HEADER if packet.version == 4 else parse_ipv6.HEADER
    kind = bytes([ECHO_REQUEST[packet.version], 0])
    return packet.transport_offset == plain and len(packet.payload) >= ICMP_HEADER and packet.payload[:2] == kind


def turned_round(packet: Packet) -> Packet | None:
    """Return an error with the addresses, ports and protocol that the client's packets of its flow have.

    The quoted packet was sent by the VIP to the client, so these are its own turned round. None if this is not an
    error, or quotes nothing that could be one of our flows.
    """
    quoted = _quoted(packet)
    if quoted is None or quoted.protocol not in {TCP, UDP} or len(quoted.transport) < QUOTED_PORTS:
        return None
    return replace(
        packet,
        source=quoted.destination,
        source_port=int.from_bytes(quoted.transport[2:4], "big"),
        destination=quoted.source,
        destination_port=int.from_bytes(quoted.transport[0:2], "big"),
        protocol=quoted.protocol,
        is_icmp_error=True,
    )


def is_about_tunnel(packet: Packet) -> bool:
    """Whether this is an error about a packet in a tunnel: one that the balancer itself may have sent to a backend."""
    quoted = _quoted(packet)
    if quoted is None or len(quoted.transport) < QUOTED_PORTS:
        return False
    is_gue = quoted.protocol == UDP and int.from_bytes(quoted.transport[2:4], "big") == GUE_PORT
    return is_gue or quoted.protocol in {IPV4_IN_IP, IPV6_IN_IP}


def quote_of(packet: Packet) -> tuple[bytes, bytes]:
    """Return the quoted IP header of an error, with its options or extension headers, and what is quoted behind it."""
    quoted = _quoted(packet)
    assert quoted is not None, "it was told from what is no error by its quote"
    quote = packet.payload[ICMP_HEADER:]
    return quote[: len(quote) - len(quoted.transport)], quoted.transport


def _quoted(packet: Packet) -> _Quoted | None:
    """Return what an error quotes, None if this is none, or a forged one: not sent to whoever sent the packet."""
    message = packet.payload
    if len(message) < ICMP_HEADER or message[0] not in ERRORS[packet.version]:
        return None
    quote = message[ICMP_HEADER:]
    quoted = _quoted_ipv4(quote) if packet.version == 4 else _quoted_ipv6(quote)
    return quoted if quoted is not None and quoted.source == packet.destination else None


def _quoted_ipv4(quote: bytes) -> _Quoted | None:
    """Return the quoted packet. Its total length is ignored: some routers change it."""
    if len(quote) < parse_ipv4.HEADER or quote[0] >> 4 != 4:
        return None
    header_length = (quote[0] & 0x0F) * 4
    is_later_fragment = bool(int.from_bytes(quote[6:8], "big") & parse_ipv4.OFFSET)
    if header_length < parse_ipv4.HEADER or is_later_fragment:
        return None
    return _Quoted(IPv4Address(quote[12:16]), IPv4Address(quote[16:20]), quote[9], quote[header_length:])


def _quoted_ipv6(quote: bytes) -> _Quoted | None:
    """Return the quoted packet, None if its transport header is not found behind its extension headers.

    RFC 4443, section 2.4 e: the transport is found in the quoted packet, "due to the presence of extension headers"
    perhaps not at once. They are skipped like those of packets that come in. The first fragment of a datagram that its
    sender has cut (RFC 8200, section 5) has the ports, and "packet too big" may be about that.
    """
    if len(quote) < parse_ipv6.HEADER or quote[0] >> 4 != 6:
        return None
    protocol, at = quote[6], parse_ipv6.HEADER
    for _ in range(parse_ipv6.MAX_EXTENSIONS):
        if protocol not in parse_ipv6.EXTENSIONS:
            break
        header = quote[at:]
        if not _can_be_skipped(protocol, header, is_first=at == parse_ipv6.HEADER):
            return None
        at += parse_ipv6.extension_length(protocol, header[1])
        protocol = header[0]
    return _Quoted(IPv6Address(quote[8:24]), IPv6Address(quote[24:40]), protocol, quote[at:])


def _can_be_skipped(kind: int, header: bytes, *, is_first: bool) -> bool:
    if len(header) < parse_ipv6.SMALLEST_EXTENSION:
        return False
    is_later_fragment = kind == parse_ipv6.FRAGMENT and bool(int.from_bytes(header[2:4], "big") & parse_ipv6.OFFSET)
    return not is_later_fragment and parse_ipv6.refused_extension(kind, header, is_first=is_first) is None
