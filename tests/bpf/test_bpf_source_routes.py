# SPDX-License-Identifier: Apache-2.0
"""Packets whose sender says which way they go: an IPv4 source route, an IPv6 routing header with segments left. And
extension headers out of place."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.packet import Packet, Raw

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

ELSEWHERE, ELSEWHERE6 = "203.0.113.11", "2001:db8:ffff::11"
ROUTING_TYPES = [0, 1, 2, 3, 4, 253]
LSRR, SSRR = bytes([131, 7, 4, 198, 51, 100, 1]), bytes([137, 7, 4, 198, 51, 100, 1])
USED_UP = bytes([131, 7, 8, 198, 51, 100, 1])
RECORD, TIMESTAMP, ALERT = bytes([7, 7, 4, 0, 0, 0, 0]), bytes([68, 8, 5, 0, 0, 0, 0, 0]), bytes([148, 4, 0, 0])
NOP, END = b"\1", b"\0"
SMALLEST = (
    "02000000010202000000010186dd6000000000102b4020010db8000c0000000000000000000720010db8000f0000000000000000"
    "00101100fd01000000009c400050000807aa"
)


@pytest.fixture(autouse=True, params=[Forward.DR, Forward.IPIP])
def guarded(balancer: Balancer, request: pytest.FixtureRequest) -> Balancer:
    """The VIPs of both families on one backend."""
    balancer.set_up(slot(1), [backend(1, forward=request.param)])
    return balancer


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


def with_options(options: bytes, frame: bytes | None = None) -> bytes:
    """Return a frame with these options, filled up to whole words with their end."""
    whole = packets.udp() if frame is None else frame
    padded = options + bytes(-len(options) % 4)
    header = bytearray(whole[14:34] + padded)
    header[0] = 0x45 + len(padded) // 4
    struct.pack_into("!H", header, 2, int.from_bytes(whole[16:18], "big") + len(padded))
    struct.pack_into("!H", header, 10, 0)
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    struct.pack_into("!H", header, 10, 0xFFFF - ((total - 1) % 0xFFFF + 1))
    return whole[:14] + bytes(header) + whole[34:]


ROUTES = {
    "loose": LSRR,
    "strict": SSRR,
    "used up": USED_UP,
    "behind a no-operation": NOP + LSRR,
    "behind many": NOP * 30 + LSRR,
    "behind a record of the route": RECORD + SSRR,
    "behind several": ALERT + TIMESTAMP + NOP + RECORD + LSRR,
    "as the last byte": NOP * 39 + b"\x83",
    "without a length": NOP + b"\x83\0",
    "in all the room there is": bytes([131, 39, 4]) + bytes(36),
}
NO_ROUTES = {
    "a record of the route": RECORD,
    "a timestamp": TIMESTAMP,
    "router alert": ALERT,
    "inside another option": bytes([7, 11, 4]) + bytes([131, 7, 137, 7, 131, 7, 137, 7]),
    "behind the end": END + LSRR,
    "behind an option of length 0": bytes([7, 0]) + LSRR,
    "behind an option of length 1": bytes([7, 1]) + LSRR,
    "behind an option that is too long": bytes([7, 60]) + LSRR,
    "nothing but no-operations": NOP * 40,
}


@pytest.mark.parametrize("shows", ROUTES)
def test_an_ipv4_source_route_is_dropped(guarded: Balancer, shows: str) -> None:
    frames = [packets.tcp(), packets.udp(), packets.icmp(), *packets.fragments()[:2]]
    frames.append(icmp_packets.about(4, icmp_packets.quoted(4)))
    for frame in frames:
        routed = with_options(ROUTES[shows], frame)
        result = guarded.send(routed)
        assert (result.verdict, result.packet) == (XDP_DROP, routed)
    assert stopped(guarded) == {"drop_source_route": len(frames)}


@pytest.mark.parametrize("shows", NO_ROUTES)
def test_other_ipv4_options_are_not(guarded: Balancer, shows: str) -> None:
    assert guarded.send(with_options(NO_ROUTES[shows])).verdict == XDP_TX


def test_elsewhere_a_source_route_is_the_hosts(guarded: Balancer) -> None:
    frame = with_options(LSRR, packets.udp(destination=ELSEWHERE))
    result = guarded.send(frame)
    assert (result.verdict, result.packet) == (XDP_PASS, frame)
    assert stopped(guarded) == {"pass_malformed": 1}


def routing(kind: int, left: int, addresses: int = 1) -> Packet:
    """Return a routing header; scapy keeps its type."""
    return IPv6ExtHdrRouting(type=kind, segleft=left, addresses=["2001:db8:ff::1"] * addresses)


BEFORE: dict[str, Sequence[Packet]] = {
    "alone": [],
    "behind hop-by-hop options": [IPv6ExtHdrHopByHop()],
    "behind destination options": [IPv6ExtHdrDestOpt()],
    "behind an atomic fragment": [IPv6ExtHdrFragment(id=1)],
    "behind one that has arrived": [routing(0, 0)],
    "as the sixth": [IPv6ExtHdrDestOpt() for _ in range(5)],
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", ROUTING_TYPES)
def test_a_routing_header_with_segments_left_is_dropped(guarded: Balancer, kind: int, before: str) -> None:
    for left in (1, 2, 255):
        for make in (packets.tcp6, packets.udp6):
            frame = make(extensions=[*BEFORE[before], routing(kind, left)])
            result = guarded.send(frame)
            assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(guarded) == {"drop_source_route": 6}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", ROUTING_TYPES)
def test_without_segments_left_it_is_skipped(guarded: Balancer, kind: int, before: str) -> None:
    for make in (packets.tcp6, packets.udp6):
        assert guarded.send(make(extensions=[*BEFORE[before], routing(kind, 0)])).verdict == XDP_TX


def test_in_a_fragmented_packet_it_is_in_all_fragments(guarded: Balancer) -> None:
    """What is in front of the fragment header is repeated in each; what is behind it is in the first."""
    header = icmp_packets.internet_layer(6)
    udp = icmp_packets.transport_layer("udp", 4000, packets.VIP_PORT) / Raw(bytes(64))
    frames = [
        header / routing(4, 1) / IPv6ExtHdrFragment(m=1, id=1) / udp,
        header / routing(4, 1) / IPv6ExtHdrFragment(offset=9, id=1, nh=17) / Raw(bytes(64)),
        header / IPv6ExtHdrFragment(m=1, id=2) / routing(4, 1) / udp,
    ]
    for frame in frames:
        assert guarded.send(packets.in_frame(frame)).verdict == XDP_DROP
    assert stopped(guarded) == {"drop_source_route": 3}


def test_an_icmp_error_with_segments_left_is_dropped(guarded: Balancer) -> None:
    error = packets.in_frame(
        icmp_packets.internet_layer(6, src="2001:db8:ff::1")
        / routing(0, 1)
        / icmp_packets.ERRORS[6]["packet too big"]
        / Raw(icmp_packets.quoted(6))
    )
    guarded.send(error)
    assert stopped(guarded) == {"drop_source_route": 1}


def test_elsewhere_a_routing_header_is_the_hosts(guarded: Balancer) -> None:
    frame = packets.udp6(extensions=[routing(4, 1)], destination=ELSEWHERE6)
    assert guarded.send(frame).verdict == XDP_PASS
    assert stopped(guarded) == {"pass_malformed": 1}


@pytest.mark.parametrize(
    "extensions",
    [
        [IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop()],
        [IPv6ExtHdrHopByHop(), IPv6ExtHdrHopByHop()],
        [IPv6ExtHdrFragment(id=1), IPv6ExtHdrHopByHop()],
        [IPv6ExtHdrFragment(m=1, id=1), IPv6ExtHdrHopByHop()],
        [routing(0, 0), IPv6ExtHdrHopByHop()],
    ],
)
def test_hop_by_hop_options_have_their_place(guarded: Balancer, extensions: Sequence[Packet]) -> None:
    guarded.send(packets.udp6(extensions=extensions))
    assert stopped(guarded) == {"drop_extension": 1}


def test_the_smallest_one(guarded: Balancer) -> None:
    frame = bytes.fromhex(SMALLEST)
    assert IPv6Address(frame[38:54]) == IPv6Address(packets.VIP6)
    assert guarded.send(frame).verdict == XDP_DROP
    assert stopped(guarded) == {"drop_source_route": 1}
