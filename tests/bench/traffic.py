# SPDX-License-Identifier: Apache-2.0
"""The packets of the packet benchmark, as frames.

frame.h varies the flow. For this the frames have an IPv4 id of 0xffff, and 0 in the low half of the source address.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

__all__ = [
    "CLIENTS",
    "FAR_CLIENTS",
    "LISTED",
    "NAT_BACKENDS",
    "NAT_CLIENTS",
    "TUNNEL_END",
    "VIPS",
    "echo",
    "extended",
    "first_fragment",
    "icmp_error",
    "later_fragment",
    "quic",
    "reply",
    "tagged",
    "tcp",
    "udp",
    "unwrapped",
]

VIPS = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
CLIENTS = {4: "198.18.0.0", 6: "2001:2::"}
LISTED = {4: "198.19.0.0", 6: "2001:3::"}
"""A client that an access list denies by a prefix."""

NAT_BACKENDS = {4: "10.2.0.0", 6: "2001:db8:2::"}
"""The first backend of a VIP by NAT."""

NAT_CLIENTS = {4: "198.51.100.12", 6: "2001:db8:c:c::"}
"""Clients of these, to which there is a route by the NIC that replies come in by."""

FAR_CLIENTS = {4: "192.0.2.200", 6: "2001:db8:d::1"}
"""Clients that are on the way to nearly all."""

TUNNEL_END = "10.0.0.1"
"""The address at which tunnels end, for all sources."""

SHORTEST = 64
PACKET_ID = 0xFFFF


def tcp(
    port: int,
    version: int = 4,
    flags: str = "A",
    *,
    to: str | None = None,
    client: str | None = None,
    payload: int = 0,
    wrong: bool = False,
) -> bytes:
    """Return a segment; `wrong`: its IPv4 header has a wrong checksum."""
    ip = _ip(version, to, client)
    if wrong:
        ip.chksum = 0xBEEF
    return _frame(ip / TCP(sport=1, dport=port, flags=flags) / (b"\0" * payload))


def reply(port: int, version: int = 4, *, to: str | None = None) -> bytes:
    """Return a segment of a NAT backend to a client, from this port."""
    ip = _ip(version, to or NAT_CLIENTS[version], NAT_BACKENDS[version])
    return _frame(ip / TCP(sport=port, dport=1, flags="A"))


def unwrapped(port: int, *, gue: bool, end: str = TUNNEL_END) -> bytes:
    """Return a segment in a tunnel to `end`."""
    outer = _ip(4, end)
    inner = IP(src="192.0.2.7", dst=VIPS[4]) / TCP(sport=1, dport=port, flags="A")
    return _frame(outer / UDP(sport=1, dport=6080, chksum=0) / inner if gue else outer / inner)


def udp(port: int, version: int = 4, *, to: str | None = None) -> bytes:
    """Return a datagram."""
    return _frame(_ip(version, to) / UDP(sport=1, dport=port) / (b"\0" * 10))


def quic(port: int, server_id: int) -> bytes:
    """Return a datagram with a short QUIC header, whose connection ID has a server ID of 2 bytes."""
    return _frame(_ip(4) / UDP(sport=1, dport=port) / (b"\x40\x00" + server_id.to_bytes(2, "big") + bytes(12)))


def echo(version: int = 4, *, to: str | None = None) -> bytes:
    """Return a ping."""
    return _frame(_ip(version, to) / (ICMP(type=8, id=1) if version == 4 else ICMPv6EchoRequest(id=1)))


def extended(port: int) -> bytes:
    """Return an IPv6 segment behind two extension headers."""
    return _frame(_ip(6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP(sport=1, dport=port, flags="A"))


def icmp_error(port: int, version: int = 4) -> bytes:
    """Return an error about a segment from the VIP to a client, as the client sends it."""
    if version == 4:
        quoted = IP(src=VIPS[4], dst=CLIENTS[4]) / TCP(sport=port, dport=1)
        return _frame(_ip(4) / ICMP(type=3, code=1) / quoted)
    quoted6 = IPv6(src=VIPS[6], dst=CLIENTS[6]) / TCP(sport=port, dport=1)
    return _frame(_ip(6) / ICMPv6DestUnreach(code=1) / quoted6)


def first_fragment(port: int, version: int = 4) -> bytes:
    """Return the first fragment of a datagram."""
    whole = UDP(sport=1, dport=port, len=2008) / (b"\0" * 1000)
    if version == 4:
        ip = _ip(4)
        ip.flags = "MF"
        return _frame(ip / whole)
    return _frame(_ip(6) / IPv6ExtHdrFragment(m=1, id=PACKET_ID, nh=17) / whole)


def later_fragment(version: int = 4) -> bytes:
    """Return the fragment that follows the first one."""
    if version == 4:
        ip = _ip(4)
        ip.frag, ip.proto = 126, 17
        return _frame(ip / (b"\0" * 1000))
    return _frame(_ip(6) / IPv6ExtHdrFragment(offset=126, id=PACKET_ID, nh=17) / (b"\0" * 1000))


def tagged(frame: bytes, *, twice: bool = False) -> bytes:
    """Return a frame with one or two VLAN tags."""
    tags = bytes(Dot1AD(vlan=7) / Dot1Q(vlan=8)) if twice else bytes(Dot1Q(vlan=8))
    types = b"\x88\xa8" if twice else b"\x81\x00"
    return frame[:12] + types + tags[: 4 * (1 + twice) - 2] + frame[12:]


def _ip(version: int, to: str | None = None, client: str | None = None) -> Packet:
    if version == 4:
        return IP(src=client or CLIENTS[4], dst=to or VIPS[4], id=PACKET_ID)
    return IPv6(src=client or CLIENTS[6], dst=to or VIPS[6])


def _frame(packet: Packet) -> bytes:
    frame = bytes(Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / packet)
    return frame.ljust(SHORTEST, b"\0")
