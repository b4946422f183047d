# SPDX-License-Identifier: Apache-2.0
"""What the stack would have looked at if a tunnel ended there: the backends' program looks at it, too."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IPOption_LSRR, IPOption_RR, IPOption_SSRR
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet, Raw

from tests.bpf import packets
from tests.bpf.decapsulator import ADDRESS, ADDRESS6, Decapsulator
from tests.bpf.tunnels import host, tcp6, unwrapped, wrapped
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS

pytestmark = pytest.mark.root

INNER, INNER6 = packets.tcp("PA"), tcp6()
VIP6, CLIENT6 = "2001:db8:f::10", "2001:db8:c::7"
ETHERNET, IPV4, UDP = 14, 20, 8
MARTIANS = {
    4: ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.5", "240.0.0.1", "255.255.255.255"],
    6: ["::", "::1", "::ffff:10.0.0.1", "::10.0.0.1", "ff02::1", "ff0e::1"],
}
GUES = [None, 0, 1]


def dropped(decapsulator: Decapsulator, frame: bytes, reason: str) -> None:
    """The frame is dropped for this reason, unchanged."""
    decapsulator.clear()
    result = decapsulator.send(frame)
    assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert decapsulator.counted() == {reason: 1}


def comes_out(decapsulator: Decapsulator, frame: bytes, inner: bytes) -> None:
    """The stack sees the inner packet."""
    decapsulator.clear()
    result = decapsulator.send(frame)
    assert (result.verdict, result.packet) == (XDP_PASS, unwrapped(frame, inner))
    assert decapsulator.counted() == {"DECAP_UNWRAPPED": 1}


@pytest.mark.parametrize("gue", GUES)
@pytest.mark.parametrize("options", [0, 4, 8, 20, 40])
def test_each_bit_of_the_outer_header_is_in_its_checksum(
    decapsulator: Decapsulator, options: int, gue: int | None
) -> None:
    """One flipped, wherever that does not make it another kind of packet."""
    frame = wrapped(INNER, gue=gue, options=packets.ip_options(options))
    comes_out(decapsulator, frame, INNER)
    for byte in [1, 4, 5, 8, *range(10, 16), *range(IPV4, IPV4 + options)]:
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[ETHERNET + byte] ^= 1 << bit
            dropped(decapsulator, bytes(damaged), "DECAP_DROP_BAD_CHECKSUM")


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("gue", [0, 1])
def test_a_udp_checksum_is_checked_if_there_is_one(decapsulator: Decapsulator, gue: int, outer: int) -> None:
    """Of datagrams of every length, whatever is left over behind whole words."""
    for size in [*range(70), *range(440, 530), 1000, 1023, 1400, 1401, 1402, 1403]:
        inner = packets.tcp("PA", payload=bytes(index * 7 & 0xFF for index in range(size)))
        frame = wrapped(inner, to=host(outer), gue=gue, checksum=None)
        comes_out(decapsulator, frame, inner)
        for at in (len(frame) - 1, len(frame) - 2, len(frame) - 3, len(frame) - 4, len(frame) - len(inner) + 20):
            damaged = bytearray(frame)
            damaged[at] ^= 0x10
            dropped(decapsulator, bytes(damaged), "DECAP_DROP_BAD_CHECKSUM")


@pytest.mark.parametrize("outer", [4, 6])
def test_it_covers_the_addresses_and_not_the_padding(decapsulator: Decapsulator, outer: int) -> None:
    frame = wrapped(INNER, to=host(outer), gue=1, checksum=None)
    comes_out(decapsulator, frame + bytes(range(1, 8)), INNER + bytes(range(1, 8)))
    other = wrapped(INNER, to=host(outer), gue=1, checksum=None, src={4: "10.0.0.2", 6: "2001:db8::2"}[outer])
    at = ETHERNET + {4: IPV4, 6: 40}[outer] + 6
    dropped(decapsulator, frame[:at] + other[at : at + 2] + frame[at + 2 :], "DECAP_DROP_BAD_CHECKSUM")


@pytest.mark.parametrize("gue", GUES)
@pytest.mark.parametrize("route", [IPOption_LSRR, IPOption_SSRR])
def test_an_outer_source_route_is_refused(decapsulator: Decapsulator, route: type[Packet], gue: int | None) -> None:
    for options in ([route(routers=["10.9.9.9"])], [IPOption_RR(routers=["0.0.0.0"]), route(routers=["10.9.9.9"])]):
        dropped(decapsulator, wrapped(INNER, gue=gue, options=options), "DECAP_DROP_SOURCE_ROUTE")
    comes_out(decapsulator, wrapped(INNER, gue=gue, options=[IPOption_RR(routers=["0.0.0.0"])]), INNER)


@pytest.mark.parametrize("gue", GUES)
@pytest.mark.parametrize("outer", [4, 6])
def test_an_outer_source_that_cannot_be(decapsulator: Decapsulator, outer: int, gue: int | None) -> None:
    """Nor may it be where the tunnel ends."""
    for source in [*MARTIANS[outer], {4: ADDRESS, 6: ADDRESS6}[outer]]:
        dropped(decapsulator, wrapped(INNER, to=host(outer), gue=gue, src=source), "DECAP_DROP_MARTIAN")
    comes_out(decapsulator, wrapped(INNER, to=host(outer), gue=gue, ttl=1) if outer == 4 else wrapped(INNER), INNER)


@pytest.mark.parametrize("outer", [4, 6])
def test_an_inner_source_that_cannot_be(decapsulator: Decapsulator, outer: int) -> None:
    for source in MARTIANS[4]:
        dropped(decapsulator, wrapped(packets.tcp("PA", source=source), to=host(outer)), "DECAP_DROP_MARTIAN")
    for source in MARTIANS[6]:
        dropped(decapsulator, wrapped(tcp6(source=source), to=host(outer)), "DECAP_DROP_MARTIAN")


BEFORE: dict[str, list[Packet]] = {
    "nothing": [],
    "a first fragment": [IPv6ExtHdrFragment(id=1, m=1)],
    "an atomic fragment": [IPv6ExtHdrFragment(id=1)],
    "hop-by-hop options": [IPv6ExtHdrHopByHop()],
    "destination options": [IPv6ExtHdrDestOpt()],
    "a routing header": [IPv6ExtHdrRouting(segleft=0)],
    "options in a first fragment": [IPv6ExtHdrFragment(id=1, m=1), IPv6ExtHdrDestOpt()],
    "a fragment behind options": [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(id=1, m=1)],
    "six": [IPv6ExtHdrDestOpt() for _ in range(6)],
}
DISCOVERY = [ICMPv6ND_RS, ICMPv6ND_RA, ICMPv6ND_NS, ICMPv6ND_NA, ICMPv6ND_Redirect]


def behind(extensions: list[Packet], last: Packet, hops: int = 255) -> bytes:
    """Return an IPv6 packet with extension headers."""
    packet = IPv6(src=CLIENT6, dst=VIP6, hlim=hops)
    for extension in extensions:
        packet = packet / extension
    return packets.in_frame(packet / last)


@pytest.mark.parametrize("before", BEFORE)
def test_neighbour_discovery_is_seen_behind(decapsulator: Decapsulator, before: str) -> None:
    """Unless a router has sent it on. Other ICMPv6 and UDP come out with as many hops left."""
    for kind in DISCOVERY:
        dropped(decapsulator, wrapped(behind(BEFORE[before], kind())), "DECAP_DROP_MARTIAN")
        inner = behind(BEFORE[before], kind(), hops=254)
        comes_out(decapsulator, wrapped(inner), inner)
    for other in (ICMPv6EchoRequest(), ICMPv6MLReport2(), Raw(packets.udp6()[54:])):
        inner = behind(BEFORE[before], other) if not isinstance(other, Raw) else packets.udp6(extensions=BEFORE[before])
        comes_out(decapsulator, wrapped(inner), inner)


def test_what_may_be_neighbour_discovery_does_not_come_out(decapsulator: Decapsulator) -> None:
    """Behind more headers than are looked at, or where the fragment ends before it."""
    hidden = [
        behind([IPv6ExtHdrDestOpt() for _ in range(7)], ICMPv6ND_NA()),
        behind([IPv6ExtHdrFragment(id=1, m=1, nh=60)], Raw(b"\x3a\0\1\4\0\0\0\0")),
        behind([IPv6ExtHdrFragment(id=1, m=1, nh=60)], Raw(b"\x3a\7\1\4\0\0\0\0")),
    ]
    for inner in hidden:
        dropped(decapsulator, wrapped(inner), "DECAP_DROP_MARTIAN")


@pytest.mark.parametrize("next_header", [6, 17, 58, 60])
def test_later_fragments_come_out(decapsulator: Decapsulator, next_header: int) -> None:
    """Whatever they are of, the first one has the header."""
    inner = behind([IPv6ExtHdrFragment(id=1, offset=3, nh=next_header)], Raw(b"\x88" * 24))
    comes_out(decapsulator, wrapped(inner), inner)


def test_the_smallest_ones(decapsulator: Decapsulator) -> None:
    wrong = (
        "02000000010202000000010108004500002800070000400400000a0000010a0001034500001400070000403b7c96c0000207cb00710a"
    )
    dropped(decapsulator, bytes.fromhex(wrong), "DECAP_DROP_BAD_CHECKSUM")
    inner = behind([IPv6ExtHdrFragment(id=7)], ICMPv6ND_NA())
    dropped(decapsulator, wrapped(inner, to=ADDRESS6), "DECAP_DROP_MARTIAN")
