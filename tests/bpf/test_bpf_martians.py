# SPDX-License-Identifier: Apache-2.0
"""Sources that no packet from the network has: neither answered nor sent on, whatever the packet is otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.bpf import icmp_packets, leaving, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

MARTIANS = {
    4: [
        "0.0.0.0",
        "0.255.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
    ],
    6: ["::", "::1", "::203.0.113.9", "::ffff:192.0.2.7", "::ffff:127.0.0.1", "ff00::", "ff02::1", "ffff::1"],
}
OTHERS = {
    4: ["1.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.0", "169.254.1.1", "223.255.255.255"],
    6: ["0:0:0:1::", "64:ff9b::192.0.2.7", "100::1", "fc00::1", "fe7f::1", "fec0::1", "fe00::1"],
}
ELSEWHERE = {4: "203.0.113.11", 6: "2001:db8:ffff::11"}
LINK_LOCAL = ["fe80::7", "fe80::ffff:ffff:ffff:ffff", "febf::1"]
OTHER_NIC = 2


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


def later_fragment(version: int, source: str) -> bytes:
    """Return a fragment without ports."""
    if version == 4:
        return packets.in_frame(icmp_packets.internet_layer(4, src=source, proto=17, frag=4) / Raw(bytes(24)))
    header = icmp_packets.internet_layer(6, src=source)
    return packets.in_frame(header / IPv6ExtHdrFragment(nh=17, offset=4, id=7) / Raw(bytes(24)))


def too_big(version: int, source: str) -> bytes:
    """Return what does not fit with an outer header."""
    return icmp_packets.segment(version, 1500, src=source)


KINDS: dict[str, Callable[[int, str], bytes]] = {
    "a ping": lambda version, source: icmp_packets.echo_request(version, src=source),
    "TCP": lambda version, source: icmp_packets.segment(version, 100, src=source),
    "UDP": lambda version, source: icmp_packets.segment(version, 100, protocol="udp", src=source),
    "too big": too_big,
    "a later fragment": later_fragment,
    "an ICMP error's router": lambda version, source: icmp_packets.about(
        version, icmp_packets.quoted(version), src=source
    ),
    "an ICMP error's client": lambda version, source: icmp_packets.about(
        version, icmp_packets.quoted(version, dst=source)
    ),
}


@pytest.mark.parametrize("forward", [Forward.DR, Forward.IPIP, Forward.GUE])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [4, 6])
def test_is_dropped(balancer: Balancer, version: int, kind: str, forward: Forward) -> None:
    balancer.set_up(slot(1), [backend(1, forward=forward)])
    for source in MARTIANS[version]:
        frame = KINDS[kind](version, source)
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_DROP, frame), source
    assert stopped(balancer) == {"drop_martian": len(MARTIANS[version])}
    assert balancer.plane.counters().backends[1].packets == 0


@pytest.mark.parametrize("version", [4, 6])
def test_for_other_addresses_it_is_the_hosts(balancer: Balancer, version: int) -> None:
    balancer.set_up(slot(1), [backend(1)])
    for source in MARTIANS[version]:
        frame = icmp_packets.segment(version, 100, src=source, dst=ELSEWHERE[version])
        assert balancer.send(frame).verdict == XDP_PASS


@pytest.mark.parametrize("version", [4, 6])
def test_the_addresses_beside_them_are_clients(balancer: Balancer, version: int) -> None:
    balancer.set_up(slot(1), [backend(1, forward=Forward.IPIP)])
    for source in OTHERS[version]:
        assert balancer.send(icmp_packets.segment(version, 100, src=source)).verdict == XDP_TX
        assert balancer.send(icmp_packets.echo_request(version, src=source)).verdict == XDP_TX
    assert stopped(balancer) == {"answer_echo": len(OTHERS[version])}


@pytest.mark.parametrize("version", [4, 6])
def test_an_icmp_error_from_the_vip_itself_is_land(balancer: Balancer, version: int) -> None:
    balancer.set_up(slot(1), [backend(1)])
    vip = icmp_packets.addresses(version)[1]
    balancer.send(icmp_packets.about(version, icmp_packets.quoted(version), src=vip))
    assert stopped(balancer) == {"drop_land": 1}


FORWARDED = ["TCP", "UDP", "an ICMP error's router"]


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("forward", [Forward.IPIP, Forward.GUE])
@pytest.mark.parametrize("kind", FORWARDED)
@pytest.mark.parametrize("source", LINK_LOCAL)
def test_link_local_goes_into_no_tunnel(
    balancer: Balancer, source: str, kind: str, forward: Forward, outer: int
) -> None:
    balancer.set_up(slot(1), [backend(1, forward=forward, version=outer, inner_version=6)])
    frame = KINDS[kind](6, source)
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(balancer) == {"drop_martian": 1}


@pytest.mark.parametrize("kind", FORWARDED)
@pytest.mark.parametrize("source", LINK_LOCAL)
def test_link_local_goes_on_by_dr(balancer: Balancer, source: str, kind: str) -> None:
    """The backend is on the client's own link."""
    balancer.set_up(slot(1), [backend(1, inner_version=6)])
    frame = KINDS[kind](6, source)
    assert balancer.send(frame).packet == packets.through_dr(frame, 1)


def test_link_local_does_not_leave_by_another_nic(balancer: Balancer) -> None:
    """OTHER_NIC is none that xdplb is on: anything else for it is dropped as `internal`."""
    balancer.set_up(slot(1), [backend(1, inner_version=6, ifindex=OTHER_NIC)])
    result = balancer.send(KINDS["TCP"](6, "fe80::7"))
    assert result.verdict != XDP_REDIRECT
    assert stopped(balancer) == {"drop_martian": 1}


TAGS = {
    "no tag": (),
    "VLAN 5": (VlanTag(5),),
    "VLAN 6": (VlanTag(6),),
    "service VLAN 5": (VlanTag(5, 0x88A8),),
    "VLAN 5 in 9": (VlanTag(9, 0x88A8), VlanTag(5)),
    "VLAN 6 in 9": (VlanTag(9, 0x88A8), VlanTag(6)),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("out", TAGS)
@pytest.mark.parametrize("into", TAGS)
def test_link_local_stays_in_its_vlan(balancer: Balancer, into: str, out: str, keep: bool) -> None:
    """Whatever the priority, which a frame may lose on its way."""
    balancer.set_up(slot(1), [backend(1, inner_version=6, tags=TAGS[out], keep_tags=keep)])
    frame = bytearray(leaving.tagged(KINDS["TCP"](6, "fe80::7"), TAGS[into]))
    if TAGS[into]:
        frame[14] |= 0xE0
    assert balancer.send(bytes(frame)).verdict == (XDP_TX if keep or into == out else XDP_DROP)


@pytest.mark.parametrize("source", LINK_LOCAL)
def test_a_link_local_ping_is_answered(balancer: Balancer, source: str) -> None:
    """The answer goes back to where it came from."""
    balancer.set_up(slot(1), [backend(1, forward=Forward.IPIP)])
    request = icmp_packets.echo_request(6, src=source)
    assert balancer.send(request).packet == icmp_packets.echo_reply(request)


SMALLEST = {
    "an echo": "02000000010202000000010108004500001c000700004001bfce7f000001cb00710a0800f7fd00010001",
    "UDP": "02000000010202000000010108004500001c000700004011bfbe7f000001cb00710a9c4000500008a841",
    "UDP over IPv6": "02000000010202000000010186dd60000000000811400000000000000000000000000000000020010db8000f00000000"
    "0000000000109c40005000083576",
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_ones(balancer: Balancer, name: str) -> None:
    balancer.set_up(slot(1), [backend(1)])
    assert balancer.send(bytes.fromhex(SMALLEST[name])).verdict == XDP_DROP
    assert stopped(balancer) == {"drop_martian": 1}
