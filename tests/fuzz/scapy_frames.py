# SPDX-License-Identifier: Apache-2.0
"""Frames for hypothesis, built by scapy and then mangled: few at a time, which shrink to the smallest that still
differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

__all__ = ["frames"]

CLIENTS = {4: ("192.0.2.7", "198.51.100.7", "198.51.100.8"), 6: ("2001:db8:c::7", "2001:db8:c:1::")}
FLAGS = ("S", "A", "PA", "FA", "R", "SF", "", "SA", "SEC")
LENGTHS = (0, 1, 17, 508, 520, 1220, 1240, 1440, 1452, 1460)


@st.composite
def frames(draw: Any, services: Sequence[tuple[str, int]]) -> bytes:
    """Return a frame, mostly for one of these VIPs, given as address and port."""
    frame = bytes(draw(_whole(services)))
    mangling = draw(st.sampled_from(["none", "none", "none", "flip", "cut", "lengthen"]))
    if mangling == "flip":
        place = draw(st.integers(12, min(len(frame), 120) - 1))
        return frame[:place] + bytes([frame[place] ^ 1 << draw(st.integers(0, 7))]) + frame[place + 1 :]
    if mangling == "cut":
        return frame[: draw(st.integers(14, len(frame)))]
    return frame + draw(st.binary(min_size=1, max_size=30)) if mangling == "lengthen" else frame


@st.composite
def _whole(draw: Any, services: Sequence[tuple[str, int]]) -> Packet:
    vip, port = draw(st.sampled_from(services))
    version = 6 if ":" in vip else 4
    client, source_port = draw(st.sampled_from(CLIENTS[version])), draw(st.sampled_from([40000, 40001]))
    inside = draw(_transport(source_port, port))
    kind = draw(st.sampled_from(["flow", "flow", "flow", "echo", "error", "fragments"]))
    if kind == "echo":
        inside = ICMP(type=8, seq=draw(st.integers(0, 3))) if version == 4 else ICMPv6EchoRequest()
    elif kind == "error":
        client, inside = (
            "198.51.100.99" if version == 4 else "2001:db8::99",
            draw(_error(vip, port, client, source_port)),
        )
    packet = draw(_ip(version, client, vip)) / inside
    if kind == "fragments":
        packet = draw(_fragment_of(packet))
    return draw(_link()) / packet


@st.composite
def _transport(draw: Any, source_port: int, port: int) -> Packet:
    data = Raw(bytes(draw(st.sampled_from(LENGTHS))))
    if draw(st.booleans()):
        return TCP(sport=source_port, dport=port, flags=draw(st.sampled_from(FLAGS))) / data
    return UDP(sport=source_port, dport=port) / data


@st.composite
def _ip(draw: Any, version: int, source: str, destination: str) -> Packet:
    hops = draw(st.sampled_from([64, 64, 2, 1, 0]))
    if version == 4:
        options = draw(
            st.sampled_from([[], [], [IPOption_NOP()] * 4, [IPOption_RR()], [IPOption_RR(), IPOption_LSRR()]])
        )
        return IP(src=source, dst=destination, ttl=hops, tos=draw(st.integers(0, 255)), options=options, flags="DF")
    header = IPv6(
        src=source, dst=destination, hlim=hops, tc=draw(st.integers(0, 255)), fl=draw(st.integers(0, 0xFFFFF))
    )
    for extension in draw(
        st.lists(st.sampled_from([IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting]), max_size=7)
    ):
        left = {"segleft": draw(st.integers(0, 1))} if extension is IPv6ExtHdrRouting else {}
        header /= extension(**left)
    return header


@st.composite
def _error(draw: Any, vip: str, port: int, client: str, client_port: int) -> Packet:
    """Return an error about a packet from the VIP to the client, quoting some of it."""
    quoted = (IPv6 if ":" in vip else IP)(src=vip, dst=client) / draw(_transport(port, client_port))
    some = Raw(bytes(quoted)[: draw(st.sampled_from([20, 28, 48, 60, 552]))])
    if ":" in vip:
        kinds = [ICMPv6DestUnreach(), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(), ICMPv6ND_NS()]
    else:
        kinds = [ICMP(type=3, code=4, nexthopmtu=1400), ICMP(type=11), ICMP(type=12), ICMP(type=5), ICMP(type=0)]
    return draw(st.sampled_from(kinds)) / some


@st.composite
def _fragment_of(draw: Any, packet: Packet) -> Packet:
    """Return the first part of a packet, or a later one. All are of the same few packets."""
    identification, is_first = draw(st.integers(0, 2)), draw(st.booleans())
    whole = bytes(packet.payload)
    if packet.version == 4:
        header = IP(src=packet.src, dst=packet.dst, proto=packet.proto, id=identification)
        header.flags, header.frag = ("MF", 0) if is_first else (0, 3)
    else:
        header = IPv6(src=packet.src, dst=packet.dst)
        header /= IPv6ExtHdrFragment(nh=packet.nh, id=identification, m=is_first, offset=0 if is_first else 3)
    return header / Raw(whole[:24] if is_first else whole[24:])


@st.composite
def _link(draw: Any) -> Packet:
    mine = "02:00:00:00:01:02"
    to = draw(st.sampled_from([*[mine] * 9, "33:33:00:00:00:01"]))
    link = Ether(src="02:00:00:00:01:01", dst=to)
    for tag in draw(st.lists(st.sampled_from([Dot1Q, Dot1AD]), max_size=3)):
        link /= tag(vlan=draw(st.integers(1, 4094)), prio=draw(st.integers(0, 7)))
    return link
