# SPDX-License-Identifier: Apache-2.0
"""IPv6 VIPs: what is read behind extension headers, what leaves by DR and IPIP in both families, and what stops."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.packet import Packet, Raw

from tests.bpf import leaving, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.balance.hashing import TABLE_SIZE, flow_hash6, slot_of
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.vip import Forward, HashKind

pytestmark = pytest.mark.root

BACKEND = 1
ELSEWHERE = "2001:db8:ffff::11"
ETHERNET, HEADER = 14, 40
EXTENSIONS_MOST = 6

EXTENSIONS: dict[str, list[Packet]] = {
    "hop-by-hop options": [IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4)))],
    "long destination options": [IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(250)))],
    "a routing header": [IPv6ExtHdrRouting(type=4, segleft=0)],
    "an authentication header": [AH(nh=6, payloadlen=4, spi=1, icv=bytes(12))],
    "a fragment header that says all": [IPv6ExtHdrFragment(id=7, nh=6)],
    "as many as are walked": [IPv6ExtHdrDestOpt() for _ in range(EXTENSIONS_MOST)],
}

FRAMES = {
    "TCP": packets.tcp6("PA"),
    "TCP without payload": packets.tcp6(payload=b""),
    "UDP": packets.udp6(),
    "UDP without payload": packets.udp6(payload=b""),
    "traffic class and flow label": packets.tcp6(tc=0xB9, fl=0xABCDE),
    "hop limit 2": packets.tcp6(hlim=2),
    "padding behind the packet": packets.udp6(payload=b"") + bytes(20),
    "1400 bytes": packets.tcp6("PA", payload=bytes(1340)),
    **{f"TCP behind {name}": packets.tcp6("PA", extensions=headers) for name, headers in EXTENSIONS.items()},
}


def forwarded(balancer: Balancer, frame: bytes, forward: Forward, outer: int, **fields: Any) -> bytes:
    """Return what a frame becomes for a backend of this kind."""
    set_up(balancer, forward, outer, inner_version=frame[ETHERNET] >> 4, **fields)
    return sent(balancer, frame)


def set_up(balancer: Balancer, forward: Forward, outer: int, **fields: Any) -> None:
    balancer.set_up(slot(BACKEND), [backend(BACKEND, forward=forward, version=outer, mtu=9000, **fields)])


def sent(balancer: Balancer, frame: bytes) -> bytes:
    result = balancer.send(frame)
    assert result.verdict == XDP_TX
    return result.packet


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(("forward", "outer"), [(Forward.DR, 6), (Forward.IPIP, 4), (Forward.IPIP, 6)])
def test_is_sent_on_unchanged_inside(balancer: Balancer, name: str, forward: Forward, outer: int) -> None:
    """Plain, 6in4 and 6in6; padding behind the packet stays too."""
    frame = FRAMES[name]
    assert forwarded(balancer, frame, forward, outer) == leaving.through(frame, BACKEND, forward, outer)
    counters = balancer.plane.counters()
    assert (counters.backends[BACKEND].packets, counters.backends[BACKEND].bytes) == (1, len(frame))


@pytest.mark.parametrize("frame", [packets.tcp(), packets.udp(tos=0xB9), packets.tcp(options=packets.ip_options(8))])
def test_ipv4_inside_ipv6(balancer: Balancer, frame: bytes) -> None:
    assert forwarded(balancer, frame, Forward.IPIP, 6) == leaving.through(frame, BACKEND, Forward.IPIP, 6)


@pytest.mark.parametrize("outer", [4, 6])
def test_the_traffic_class_is_copied(balancer: Balancer, outer: int) -> None:
    """RFC 6040, normal mode: all DSCPs with all ECN fields, out of and into headers of both families."""
    set_up(balancer, Forward.IPIP, outer, inner_version=6)
    for traffic_class in range(256):
        frame = packets.tcp6(tc=traffic_class)
        assert sent(balancer, frame) == leaving.through(frame, BACKEND, Forward.IPIP, outer)


def test_the_outer_source_varies_with_the_flow(balancer: Balancer) -> None:
    """The bits of the mask, in the last 32 of the address, come from the flow's hash."""
    mask = 0x0000FFFF
    for port in range(20000, 20050):
        frame, flow_hash = packets.tcp6(source_port=port), leaving.hash_of(6, port)
        bits = int.from_bytes((flow_hash & 0xFFFFFFFF).to_bytes(4, "little"), "big") & mask
        source = str(IPv6Address(int(IPv6Address("2001:db8:a::")) | bits))
        expected = leaving.through(frame, BACKEND, Forward.IPIP, 6, flow_hash=flow_hash, source=source)
        assert forwarded(balancer, frame, Forward.IPIP, 6, source="2001:db8:a::", source_mask=mask) == expected


@pytest.mark.parametrize("kind", HashKind)
def test_slots_are_those_the_control_plane_computes(balancer: Balancer, kind: HashKind) -> None:
    owners = np.arange(TABLE_SIZE, dtype=np.uint32) % 200 + 1
    balancer.set_up(owners, [backend(number) for number in range(1, 201)], hash_kind=kind)
    random = np.random.default_rng(1)
    asked = divmod(int(IPv6Address(packets.VIP6)), 1 << 64)
    for _ in range(200):
        halves = random.integers(0, 2**63, 2, dtype=np.uint64)
        source, port = str(IPv6Address(int(halves[0]) << 64 | int(halves[1]))), int(random.integers(1, 65536))
        number = slot_of(flow_hash6(halves, port, packets.VIP_PORT, kind, destination=asked))[0]
        frame = packets.tcp6(source=source, source_port=port)
        assert balancer.send(frame).packet == leaving.through(frame, int(owners[number]), Forward.DR)


def cut(frame: bytes, at: int, **fields: int) -> bytes:
    """Return the frame cut behind `at` bytes of its IP packet."""
    return with_fields(frame, **fields)[: ETHERNET + at]


def with_fields(frame: bytes, *, length: int | None = None, version: int = 6) -> bytes:
    """Return the frame with another payload length or version in its IPv6 header, and nothing adapted to it."""
    changed = bytearray(frame)
    changed[ETHERNET] = version << 4
    if length is not None:
        struct.pack_into(">H", changed, ETHERNET + 4, length)
    return bytes(changed)


def behind(*extensions: Packet, destination: str, protocol: int = 6, payload: bytes = b"") -> bytes:
    """Return a frame of these extension headers, the last of them in front of `protocol`, and `payload`."""
    packet = IPv6(src=packets.CLIENT6, dst=destination)
    for extension in extensions:
        packet = packet / extension
    if extensions:
        packet.lastlayer().nh = protocol
    else:
        packet.nh = protocol
    return packets.in_frame(packet / Raw(payload))


@dataclass(frozen=True)
class Row:
    """A frame to a destination, and why it stops there if it has a VIP, and if it has none."""

    shows: str
    vip: str
    other: str
    make: Any


ROWS = [
    Row("another port", "pass_no_vip", "pass_no_vip", lambda to: packets.tcp6(destination=to, port=81)),
    Row("ESP", "pass_not_tcp_udp", "pass_not_tcp_udp", lambda to: behind(destination=to, protocol=50)),
    Row("no next header", "pass_not_tcp_udp", "pass_not_tcp_udp", lambda to: behind(destination=to, protocol=59)),
    Row("ICMP of IPv4", "pass_not_tcp_udp", "pass_not_tcp_udp", lambda to: behind(destination=to, protocol=1)),
    Row(
        "options and then ESP",
        "pass_not_tcp_udp",
        "pass_not_tcp_udp",
        lambda to: behind(IPv6ExtHdrDestOpt(), destination=to, protocol=50),
    ),
    Row(
        "one header more than are walked",
        "drop_extension",
        "pass_malformed",
        lambda to: packets.tcp6(destination=to, extensions=[IPv6ExtHdrDestOpt() for _ in range(EXTENSIONS_MOST + 1)]),
    ),
    Row(
        "an extension header longer than the packet",
        "drop_bad_length",
        "pass_malformed",
        lambda to: behind(destination=to, protocol=60, payload=bytes([6, 1]) + bytes(6)),
    ),
    Row(
        "an extension header cut short",
        "drop_bad_length",
        "pass_malformed",
        lambda to: behind(destination=to, protocol=60, payload=bytes([6, 0, 0, 0])),
    ),
    Row(
        "a payload longer than the frame",
        "drop_bad_length",
        "pass_malformed",
        lambda to: with_fields(packets.tcp6(destination=to, payload=b""), length=21),
    ),
    Row(
        "TCP cut short by the payload's length",
        "drop_bad_length",
        "pass_malformed",
        lambda to: with_fields(packets.tcp6(destination=to), length=19),
    ),
    Row(
        "UDP cut short by the payload's length",
        "drop_bad_length",
        "pass_malformed",
        lambda to: with_fields(packets.udp6(destination=to), length=7),
    ),
    Row(
        "a payload of 0 bytes",
        "drop_bad_length",
        "pass_malformed",
        lambda to: with_fields(packets.tcp6(destination=to), length=0),
    ),
    Row(
        "a header cut short",
        "pass_malformed",
        "pass_malformed",
        lambda to: cut(packets.tcp6(destination=to), HEADER - 1),
    ),
    Row(
        "version 5",
        "pass_malformed",
        "pass_malformed",
        lambda to: with_fields(packets.tcp6(destination=to), version=5),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
@pytest.mark.parametrize("destination", [packets.VIP6, ELSEWHERE])
def test_stops_untouched_and_counted(balancer: Balancer, row: Row, destination: str) -> None:
    balancer.set_up(slot(BACKEND), [backend(BACKEND)])
    frame = row.make(destination)
    reason = row.vip if destination == packets.VIP6 else row.other
    result = balancer.send(frame)
    assert {name: count for name, count in balancer.plane.counters().reasons.items() if count} == {reason: 1}
    assert result.packet == frame
    assert result.verdict == (XDP_PASS if reason.startswith("pass") else XDP_DROP)


def test_no_address_finds_no_empty_entry(balancer: Balancer) -> None:
    """An empty entry of the index is all zeros, and so would be the key of :: without ports."""
    balancer.set_up(slot(BACKEND), [backend(BACKEND)])
    frame = with_fields(packets.tcp6(destination="::"), length=0)
    assert balancer.send(frame).verdict == XDP_PASS
    assert balancer.plane.counters().reasons["pass_malformed"] == 1
