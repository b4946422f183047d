# SPDX-License-Identifier: Apache-2.0
"""ICMP and ICMPv6 of the tests, made by scapy: what goes in, and what has to come back byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.bpf import packets

__all__ = [
    "ERRORS",
    "QUOTED",
    "SHORTEST_TOLD",
    "about",
    "addresses",
    "echo_reply",
    "echo_request",
    "echo_request_behind_options",
    "error",
    "internet_layer",
    "quoted",
    "quoted_of_client",
    "segment",
    "tagged",
    "too_big",
    "transport_layer",
]

QUOTED = {4: 548, 6: 1232}
"""How much of a packet that is too big its answer quotes: what RFC 1812 and RFC 4443 let it."""

SHORTEST_TOLD = {4: 548, 6: 1281}
"""The shortest packet that is answered at all: what is shorter has to fit everywhere."""

ROUTER = {4: "198.51.100.1", 6: "2001:db8:ff::1"}

ERRORS: dict[int, dict[str, Packet]] = {
    4: {
        "host unreachable": ICMP(type=3, code=1),
        "port unreachable": ICMP(type=3, code=3),
        "fragmentation needed": ICMP(type=3, code=4, nexthopmtu=1400),
        "time exceeded": ICMP(type=11, code=0),
        "parameter problem": ICMP(type=12, code=0),
    },
    6: {
        "no route": ICMPv6DestUnreach(code=0),
        "packet too big": ICMPv6PacketTooBig(mtu=1400),
        "hop limit exceeded": ICMPv6TimeExceeded(code=0),
        "parameter problem": ICMPv6ParamProblem(code=1),
    },
}
"""What routers say of a packet, by the version of IP."""


def addresses(version: int) -> tuple[str, str]:
    """Return the client's and the VIP's address."""
    return (packets.CLIENT, packets.VIP) if version == 4 else (packets.CLIENT6, packets.VIP6)


def internet_layer(version: int, **fields: Any) -> Packet:
    """Return an IP header from the client to the VIP, but for `fields` (`src`, `dst`, `ttl` in both families)."""
    source, destination = addresses(version)
    fields = {"src": source, "dst": destination, **fields}
    if version == 4:
        return IP(**fields)
    if "ttl" in fields:
        fields["hlim"] = fields.pop("ttl")
    return IPv6(**fields)


def tagged(frame: bytes, tags: Sequence[int]) -> bytes:
    """Return `frame` with 802.1Q tags of these numbers in front of its IP header, the outer one first."""
    ethernet = Ether(frame)
    inner, kind = bytes(ethernet.payload), ethernet.type
    for number in reversed(tags):
        inner, kind = bytes(Dot1Q(vlan=number, type=kind) / Raw(inner)), 0x8100
    return bytes(Ether(src=ethernet.src, dst=ethernet.dst, type=kind) / Raw(inner))


def echo_request(
    version: int, *, code: int = 0, identifier: int = 7, sequence: int = 1, data: bytes = b"ping", **ip: Any
) -> bytes:
    """Return a ping of the VIP; `ip` are fields of the IP header."""
    if version == 4:
        message = ICMP(type=8, code=code, id=identifier, seq=sequence) / Raw(data)
    else:
        message = ICMPv6EchoRequest(code=code, id=identifier, seq=sequence, data=data)
    return packets.in_frame(internet_layer(version, **ip) / message)


def echo_request_behind_options() -> bytes:
    """Return an ICMPv6 ping with an extension header in front of it."""
    return packets.in_frame(internet_layer(6) / IPv6ExtHdrDestOpt() / ICMPv6EchoRequest(data=b"ping"))


def echo_reply(request: bytes) -> bytes:
    """Return the answer to an untagged ping: what is not turned round or about being an answer is the request's."""
    ethernet = Ether(request)
    ip = ethernet.payload
    ethernet.src, ethernet.dst = ethernet.dst, ethernet.src
    ip.src, ip.dst = ip.dst, ip.src
    if ip.version == 4:
        ip.ttl = 64
        ip.payload.type = 0
        del ip.chksum, ip.payload.chksum
        return bytes(ethernet)
    ip.hlim = 64
    request_layer = ip.payload
    ip.remove_payload()
    reply = ICMPv6EchoReply(id=request_layer.id, seq=request_layer.seq, data=request_layer.data)
    return bytes(ethernet / reply)


def segment(version: int, length: int, *, protocol: str = "tcp", **ip: Any) -> bytes:
    """Return the frame of a TCP segment or UDP datagram for the VIP, `length` bytes long as an IP packet."""
    headers = internet_layer(version, **ip) / transport_layer(protocol, packets.CLIENT_PORT, packets.VIP_PORT)
    payload = bytes(number & 0xFF for number in range(length - len(headers)))
    return packets.in_frame(headers / Raw(payload))


def too_big(frame: bytes, mtu: int) -> bytes:
    """Return the answer that tells the sender of an untagged frame which MTU its packet exceeds."""
    ethernet = Ether(frame)
    ip = ethernet.payload
    quote = Raw(frame[14 : 14 + QUOTED[ip.version]])
    if ip.version == 4:
        message = IP(src=ip.dst, dst=ip.src, id=0, flags="DF", ttl=64) / ICMP(type=3, code=4, nexthopmtu=mtu) / quote
    else:
        message = IPv6(src=ip.dst, dst=ip.src, hlim=64) / ICMPv6PacketTooBig(mtu=mtu) / quote
    return bytes(Ether(src=ethernet.dst, dst=ethernet.src) / message)


def transport_layer(protocol: str, source_port: int, destination_port: int) -> Packet:
    """Return a TCP or UDP header."""
    ports = {"sport": source_port, "dport": destination_port}
    return TCP(**ports, flags="A") if protocol == "tcp" else UDP(**ports)


def quoted(
    version: int,
    *,
    protocol: str = "tcp",
    length: int | None = 8,
    port: int = packets.CLIENT_PORT,
    vip_port: int = packets.VIP_PORT,
    **ip: Any,
) -> bytes:
    """Return what a router quotes of a packet from the VIP to the client: IP header and `length` bytes behind it."""
    client, vip = addresses(version)
    header = internet_layer(version, **{"src": vip, "dst": client, **ip})
    whole = bytes(header / transport_layer(protocol, vip_port, port) / Raw(bytes(100)))
    return whole if length is None else whole[: len(header) + length]


def quoted_of_client(version: int) -> bytes:
    """Return what a router quotes of a packet from the client to the VIP."""
    transport = transport_layer("tcp", packets.CLIENT_PORT, packets.VIP_PORT)
    return bytes(internet_layer(version) / transport)


def error(version: int, kind: Packet, quote: bytes, **ip: Any) -> bytes:
    """Return the frame of a router's ICMP error about the packet that `quote` begins with."""
    return packets.in_frame(internet_layer(version, **{"src": ROUTER[version], **ip}) / kind / Raw(quote))


def about(version: int, quote: bytes, **ip: Any) -> bytes:
    """Return the frame of an error of whatever kind that quotes these bytes."""
    return error(version, next(iter(ERRORS[version].values())), quote, **ip)
