"""ICMP errors about packets that a backend has sent: they must reach that backend, which alone can act on them.

Path MTU discovery depends on it (RFC 1191, RFC 8201); without it, a connection through a narrow path hangs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.address import IPAddress

from . import ipv4, ipv6
from .packet import TCP, UDP, Packet

__all__ = ["turned_round"]

ERRORS = {4: {3, 11, 12}, 6: {1, 2, 3, 4}}
"""Destination unreachable, time exceeded, parameter problem (RFC 792); and packet too big, by ICMPv6 (RFC 4443)."""

ICMP_HEADER = 8
QUOTED_PORTS = 8
"""RFC 792 has "the first 64 bits of the original datagram's data" quoted: enough for the ports."""


@dataclass(frozen=True)
class _Quoted:
    """The packet that an error quotes, as it came from the VIP."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    transport: bytes


def turned_round(packet: Packet) -> Packet | None:
    """Return the error with addresses, ports and protocol of the client's packets of the flow it is about.

    None where it is no error, or quotes nothing that could be one of our flows.
    """
    message = packet.payload
    if len(message) < ICMP_HEADER or message[0] not in ERRORS[packet.version]:
        return None
    quote = message[ICMP_HEADER:]
    quoted = _quoted_ipv4(quote) if packet.version == 4 else _quoted_ipv6(quote)
    if quoted is None or quoted.protocol not in {TCP, UDP} or len(quoted.transport) < QUOTED_PORTS:
        return None
    if quoted.source != packet.destination:  # told to somebody who has not sent it: forged
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


def _quoted_ipv4(quote: bytes) -> _Quoted | None:
    """Return the quoted packet; its total length is not looked at, since routers have been known to change it."""
    if len(quote) < ipv4.HEADER or quote[0] >> 4 != 4:
        return None
    header_length = (quote[0] & 0x0F) * 4
    is_later_fragment = bool(int.from_bytes(quote[6:8], "big") & ipv4.OFFSET)
    if header_length < ipv4.HEADER or is_later_fragment:
        return None
    return _Quoted(IPv4Address(quote[12:16]), IPv4Address(quote[16:20]), quote[9], quote[header_length:])


def _quoted_ipv6(quote: bytes) -> _Quoted | None:
    """Return the quoted packet. Of extension headers it may have one for fragments, all that backends put there.

    A datagram longer than the path's MTU is cut by who sends it (RFC 8200, section 5), and "packet too big" may be
    about that. The first fragment has the ports.
    """
    if len(quote) < ipv6.HEADER or quote[0] >> 4 != 6:
        return None
    protocol, transport = quote[6], quote[ipv6.HEADER :]
    if protocol == ipv6.FRAGMENT:
        if len(transport) < ipv6.FRAGMENT_HEADER or int.from_bytes(transport[2:4], "big") & ipv6.OFFSET:
            return None
        protocol, transport = transport[0], transport[ipv6.FRAGMENT_HEADER :]
    return _Quoted(IPv6Address(quote[8:24]), IPv6Address(quote[24:40]), protocol, transport)
