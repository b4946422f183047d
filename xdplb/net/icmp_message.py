# SPDX-License-Identifier: Apache-2.0
"""ICMP errors: what a router or a host says about a packet, and the beginning of that packet, which it quotes. Pure.

RFC 792 and RFC 1191 for IPv4, RFC 4443 for IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.address import IPAddress

__all__ = ["ErrorKind", "IcmpError", "Quote", "read_error"]

_ICMP, _UDP, _ICMPV6 = 1, 17, 58
_ICMP_HEADER, _UDP_HEADER = 8, 8
_OFFSET, _OFFSET_OR_MORE = 0x1FFF, 0x3FFF
_FRAGMENT = 44
_EXTENSIONS = frozenset({0, 43, _FRAGMENT, 60})  # hop-by-hop, routing, fragment, destination options
_MOST_EXTENSIONS = 6


class ErrorKind(StrEnum):
    """What an error says of the packet: it is longer than the next link takes, there is no way, and so on."""

    TOO_BIG = "too_big"
    UNREACHABLE = "unreachable"
    TIME_EXCEEDED = "time_exceeded"
    PARAMETER_PROBLEM = "parameter_problem"


_UNREACHABLE4, _FRAGMENTATION_NEEDED = 3, 4
_KINDS = {
    4: {
        _UNREACHABLE4: ErrorKind.UNREACHABLE,
        11: ErrorKind.TIME_EXCEEDED,
        12: ErrorKind.PARAMETER_PROBLEM,
    },
    6: {
        1: ErrorKind.UNREACHABLE,
        2: ErrorKind.TOO_BIG,
        3: ErrorKind.TIME_EXCEEDED,
        4: ErrorKind.PARAMETER_PROBLEM,
    },
}


@dataclass(frozen=True, slots=True)
class Quote:
    """The beginning of the packet that an error is about.

    `length` is that of the whole packet in bytes, as its IP header says. `protocol` is what follows the IP header and
    its extension headers. `ports` are source and destination port if that is UDP and they are quoted. `inner` is the
    destination of the packet inside, if there is one and that much of it is quoted.
    """

    source: IPAddress
    destination: IPAddress
    length: int
    protocol: int
    ports: tuple[int, int] | None = None
    inner: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error: `router` sent it, about the packet in `quote`, to that packet's source.

    `mtu` is what a too-big message says, in bytes; 0 in those of routers older than RFC 1191.
    """

    router: IPAddress
    kind: ErrorKind
    code: int
    quote: Quote
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class _Packet:
    """An IP packet, or as much of it as there is. `length` is what its header says."""

    version: int
    source: IPAddress
    destination: IPAddress
    length: int
    protocol: int
    payload: bytes


def read_error(data: bytes) -> IcmpError | None:
    """Return the error in an IP packet, None if it is none: another message, a broken one, one that nobody can send.

    `data` begins with the IP header; what follows the packet, such as the padding of a short frame, is ignored. An
    error that is not sent to the quoted packet's source is none either.
    """
    packet = _whole_packet(data)
    if packet is None or not _is_one_host(packet.source) or not _has_right_checksum(packet):
        return None
    message = packet.payload
    kind, code = _KINDS[packet.version].get(message[0]), message[1]
    mtu = 0
    if packet.version == 4 and (message[0], code) == (_UNREACHABLE4, _FRAGMENTATION_NEEDED):
        kind, mtu = ErrorKind.TOO_BIG, int.from_bytes(message[6:8], "big")
    elif kind is ErrorKind.TOO_BIG:
        mtu = int.from_bytes(message[4:8], "big")
    quote = _quote(message[_ICMP_HEADER:], packet.version)
    if kind is None or quote is None or quote.source != packet.destination:
        return None
    return IcmpError(packet.source, kind, code, quote, mtu)


def _whole_packet(data: bytes) -> _Packet | None:
    """Return the ICMP packet, without what follows it; None if it is not whole, or not ICMP of its version."""
    packet = _packet(data)
    if packet is None or packet.length > len(data):
        return None
    if packet.version == 4 and (_sum(data[: _header4(data)]) or int.from_bytes(data[6:8], "big") & _OFFSET_OR_MORE):
        return None
    packet = _packet(data[: packet.length])
    wanted = _ICMP if packet is not None and packet.version == 4 else _ICMPV6
    if packet is None or packet.protocol != wanted or len(packet.payload) < _ICMP_HEADER:
        return None
    return packet


def _packet(data: bytes) -> _Packet | None:
    """Return the packet whose IP header begins here; None if there is none, or if it is a non-first fragment."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20 and _header4(data) >= 20:
        if int.from_bytes(data[6:8], "big") & _OFFSET:
            return None
        length = int.from_bytes(data[2:4], "big")
        return _Packet(4, IPv4Address(data[12:16]), IPv4Address(data[16:20]), length, data[9], data[_header4(data) :])
    if version == 6 and len(data) >= 40:
        behind = _behind_extensions(data[6], data[40:])
        if behind is None:
            return None
        length = 40 + int.from_bytes(data[4:6], "big")
        return _Packet(6, IPv6Address(data[8:24]), IPv6Address(data[24:40]), length, *behind)
    return None


def _header4(data: bytes) -> int:
    return (data[0] & 0xF) * 4


def _behind_extensions(protocol: int, data: bytes) -> tuple[int, bytes] | None:
    """Return what follows the extension headers: its protocol, and its bytes; None for a non-first fragment."""
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS or len(data) < 8:
            break
        if protocol == _FRAGMENT and int.from_bytes(data[2:4], "big") >> 3:
            return None
        length = 8 if protocol == _FRAGMENT else 8 + 8 * data[1]
        protocol, data = data[0], data[length:]
    return protocol, data


def _quote(data: bytes, version: int) -> Quote | None:
    packet = _packet(data)
    if packet is None or packet.version != version:
        return None
    ports: tuple[int, int] | None = None
    inner = packet.payload
    if packet.protocol == _UDP:
        if len(inner) >= 4:
            ports = int.from_bytes(inner[:2], "big"), int.from_bytes(inner[2:4], "big")
        inner = inner[_UDP_HEADER:]
    inside = _packet(inner)
    return Quote(
        source=packet.source,
        destination=packet.destination,
        length=packet.length,
        protocol=packet.protocol,
        ports=ports,
        inner=None if inside is None else inside.destination,
    )


def _is_one_host(address: IPAddress) -> bool:
    """Return whether an error can come from this address (RFC 1122, 3.2.1.3; RFC 4291, 2.5)."""
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or int(address) == 0xFFFFFFFF)


def _has_right_checksum(packet: _Packet) -> bool:
    if packet.version == 4:
        return _sum(packet.payload) == 0
    length = len(packet.payload).to_bytes(4, "big")
    pseudo = packet.source.packed + packet.destination.packed + length + bytes((0, 0, 0, _ICMPV6))
    return _sum(pseudo + packet.payload) == 0


def _sum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of these bytes: 0 if they have their own right one in them."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF  # the same as adding the 16-bit words with end-around carry
    return (0xFFFF - total) % 0xFFFF
