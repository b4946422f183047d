# SPDX-License-Identifier: Apache-2.0
"""Fragments: only the first one of a packet has ports, and the others follow it, in order or not at all."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import EPOCH, Balancer, backend, slot
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane import layout
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

VERSIONS = [4, 6]
BACKENDS = 200
ELSEWHERE = {4: "203.0.113.11", 6: "2001:db8:ffff::11"}
IDENTIFICATION = 0x12345678
FRAGMENT_SECONDS = 30
CHECKSUM_AT, SOURCE_AT = 24, 26


def fragments(
    version: int, *, protocol: str = "udp", identification: int = IDENTIFICATION, port: int = 4000, **ip: Any
) -> list[bytes]:
    """Return the fragments of a packet for the VIP, of 1200 bytes and in order."""
    transport = icmp_packets.transport_layer(protocol, port, packets.VIP_PORT) / Raw(bytes(range(256)) * 4)
    if version == 4:
        whole = icmp_packets.internet_layer(4, id=identification & 0xFFFF, **ip) / transport
        return [packets.in_frame(part) for part in whole.fragment(fragsize=400)]
    whole = icmp_packets.internet_layer(6, **ip) / IPv6ExtHdrFragment(id=identification) / transport
    return [packets.in_frame(part) for part in fragment6(whole, 440)]


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


def age_records(balancer: Balancer, seconds: int) -> None:
    """Let that much time pass for all that is remembered of fragments."""
    table = balancer.plane.maps.fragments
    for key, found in table.items():
        value = np.frombuffer(found, layout.FRAGMENT).copy()
        value["last_seen"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - seconds * 10**9
        table.update(key, value)


def set_up(balancer: Balancer, **fields: Any) -> None:
    """Send everything to one backend."""
    balancer.set_up(slot(1), [backend(1, **fields)])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("version", VERSIONS)
def test_all_go_where_the_first_one_goes(balancer: Balancer, version: int, protocol: str) -> None:
    """Many packets over many backends, as they are but for the MACs."""
    owners = np.arange(TABLE_SIZE, dtype=np.uint32) % BACKENDS + 1
    balancer.set_up(owners, [backend(number) for number in range(1, BACKENDS + 1)])
    seen = set()
    for number in range(40):
        macs = set()
        for frame in fragments(version, protocol=protocol, identification=number, port=1000 + number):
            result = balancer.send(frame)
            assert (result.verdict, result.packet[12:]) == (XDP_TX, frame[12:])
            macs.add(result.packet[:12])
        assert len(macs) == 1
        seen |= macs
    assert len(seen) > 30


@pytest.mark.parametrize("version", VERSIONS)
def test_through_a_tunnel(balancer: Balancer, version: int) -> None:
    set_up(balancer, forward=Forward.IPIP)
    for frame in fragments(version):
        assert balancer.send(frame).packet.endswith(frame[14:])
    assert stopped(balancer) == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_are_counted_for_vip_and_backend(balancer: Balancer, version: int) -> None:
    set_up(balancer)
    frames = fragments(version)
    for frame in frames:
        balancer.send(frame)
    counters = balancer.plane.counters()
    expected = (len(frames), sum(map(len, frames)))
    assert (counters.backends[1].packets, counters.backends[1].bytes) == expected
    (vip,) = [vip for vip in counters.vips.values() if vip.packets]
    assert (vip.packets, vip.bytes, vip.at_risk) == (*expected, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_before_the_first_one_they_are_dropped(balancer: Balancer, version: int) -> None:
    """Out of order: what came too early is not kept; what comes after the first one goes on."""
    set_up(balancer)
    first, second, third = fragments(version)[:3]
    result = balancer.send(second)
    assert (result.verdict, result.packet) == (XDP_DROP, second)
    assert stopped(balancer) == {"drop_fragment": 1}
    assert [balancer.send(frame).verdict for frame in (first, third, second)] == [XDP_TX] * 3


@pytest.mark.parametrize("version", VERSIONS)
def test_for_other_addresses_they_pass(balancer: Balancer, version: int) -> None:
    """None of them is dropped, in order or not, known or not."""
    set_up(balancer)
    frames = fragments(version, dst=ELSEWHERE[version])
    for frame in [*reversed(frames), *frames]:
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_PASS, frame)
    later = len(frames) - 1
    assert stopped(balancer) == {"pass_fragment": 2 * later, "pass_no_vip": 2}


@pytest.mark.parametrize("version", VERSIONS)
def test_of_another_port_all_are_the_hosts(balancer: Balancer, version: int) -> None:
    """The address has VIPs, but the first fragment was for none of them: it passed, and so do those that follow it."""
    set_up(balancer)
    client, vip = icmp_packets.addresses(version)
    transport = icmp_packets.transport_layer("udp", 4000, 81) / Raw(bytes(1000))
    whole = icmp_packets.internet_layer(4, src=client, dst=vip, id=1) / transport if version == 4 else None
    if whole is None:
        parts = fragment6(icmp_packets.internet_layer(6) / IPv6ExtHdrFragment(id=1) / transport, 440)
    else:
        parts = whole.fragment(fragsize=400)
    verdicts = [balancer.send(packets.in_frame(part)).verdict for part in parts]
    assert verdicts == [XDP_PASS] * len(parts)
    assert stopped(balancer) == {"pass_no_vip": 1, "pass_fragment": len(parts) - 1}
    age_records(balancer, FRAGMENT_SECONDS + 1)
    assert balancer.send(packets.in_frame(parts[1])).verdict == XDP_DROP


def test_for_other_addresses_nothing_is_remembered(balancer: Balancer) -> None:
    """What the host has to do with others pushes nothing out."""
    set_up(balancer)
    for version in VERSIONS:
        balancer.send(fragments(version, dst=ELSEWHERE[version])[0])
    assert list(balancer.plane.maps.fragments.items()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_makes_a_packet_another_one(balancer: Balancer, version: int) -> None:
    """Addresses, identification and, in IPv4, protocol: with one of them different, it is another packet."""
    set_up(balancer)
    balancer.send(fragments(version)[0])
    source = {4: "192.0.2.8", 6: "2001:db8:77::8"}[version]
    others = [
        fragments(version, src=source),
        fragments(version, identification=IDENTIFICATION ^ 1),
        fragments(version, identification=IDENTIFICATION ^ 0x8000),
    ]
    if version == 4:
        others.append(fragments(version, protocol="tcp"))
    for other in others:
        assert balancer.send(other[1]).verdict == XDP_DROP
    assert stopped(balancer) == {"drop_fragment": len(others)}
    assert balancer.send(fragments(version)[1]).verdict == XDP_TX


NEXT_HEADERS = [0, 1, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 135, 255]


def later6(next_header: int, offset: int = 3, length: int = 24, **ip: Any) -> bytes:
    """Return a later fragment of an IPv6 packet that says that this header follows."""
    header = icmp_packets.internet_layer(6, **ip) / IPv6ExtHdrFragment(nh=next_header, offset=offset, id=IDENTIFICATION)
    return packets.in_frame(header / Raw(bytes(length)))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("next_header", NEXT_HEADERS)
def test_the_next_header_of_a_later_ipv6_fragment_says_nothing(
    balancer: Balancer, next_header: int, protocol: str
) -> None:
    """RFC 8200, 4.5: only the first one's counts. Without a first one it is dropped, whatever it says."""
    set_up(balancer)
    frame = later6(next_header)
    assert balancer.send(frame).verdict == XDP_DROP
    balancer.send(fragments(6, protocol=protocol)[0])
    assert balancer.send(frame).packet == packets.through_dr(frame, 1)
    assert stopped(balancer) == {"drop_fragment": 1}


@pytest.mark.parametrize("next_header", NEXT_HEADERS)
def test_of_what_is_not_tcp_or_udp_all_are_the_hosts(balancer: Balancer, next_header: int) -> None:
    """A ping in fragments: the host has the first one, and gets the others."""
    set_up(balancer)
    ping = icmp_packets.internet_layer(6) / IPv6ExtHdrFragment(nh=58, m=1, id=IDENTIFICATION) / Raw(b"\x80" + bytes(23))
    for frame in (packets.in_frame(ping), later6(next_header), later6(next_header, offset=1)):
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_PASS, frame)
    assert stopped(balancer) == {"pass_not_tcp_udp": 1, "pass_fragment": 2}


def inside(version: int, next_header: int, offset: int, length: int = 24) -> bytes:
    """Return a fragment that begins at this offset, in units of 8 bytes."""
    if version == 6:
        return later6(next_header, offset, length)
    header = icmp_packets.internet_layer(4, id=IDENTIFICATION & 0xFFFF, proto=next_header, frag=offset)
    return packets.in_frame(header / Raw(bytes(length)))


@pytest.mark.parametrize(("version", "next_header"), [(4, 6), *((6, number) for number in NEXT_HEADERS)])
def test_none_begins_inside_a_tcp_header(balancer: Balancer, version: int, next_header: int) -> None:
    """RFC 1858: at an offset of 8 bytes it would replace the flags. In IPv6 whatever it says that it is."""
    set_up(balancer)
    balancer.send(fragments(version, protocol="tcp")[0])
    for length in (8, 24):
        frame = inside(version, next_header, 1, length)
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(balancer) == {"drop_tcp_fragment": 2}
    assert balancer.send(inside(version, next_header, 3)).verdict == XDP_TX


@pytest.mark.parametrize("version", VERSIONS)
def test_one_before_the_first_is_dropped_as_any_other(balancer: Balancer, version: int) -> None:
    set_up(balancer)
    assert balancer.send(inside(version, 6, 1)).verdict == XDP_DROP


@pytest.mark.parametrize(("version", "next_header"), [(4, 17), (6, 17), (6, 6), (6, 59)])
def test_one_may_begin_behind_a_udp_header(balancer: Balancer, version: int, next_header: int) -> None:
    set_up(balancer)
    balancer.send(fragments(version)[0])
    assert balancer.send(inside(version, next_header, 1)).verdict == XDP_TX


@pytest.mark.parametrize("version", VERSIONS)
def test_of_the_host_s_connections_none_begins_inside_a_tcp_header(balancer: Balancer, version: int) -> None:
    """What is for another port of a VIP's address is the host's, but not this."""
    set_up(balancer)
    client, vip = icmp_packets.addresses(version)
    tcp = icmp_packets.transport_layer("tcp", 4000, 22) / Raw(bytes(12))
    first = (
        icmp_packets.internet_layer(4, src=client, dst=vip, id=IDENTIFICATION & 0xFFFF, flags="MF") / tcp
        if version == 4
        else icmp_packets.internet_layer(6) / IPv6ExtHdrFragment(m=1, id=IDENTIFICATION) / tcp
    )
    assert balancer.send(packets.in_frame(first)).verdict == XDP_PASS
    assert balancer.send(inside(version, 6, 1)).verdict == XDP_DROP
    assert stopped(balancer) == {"pass_no_vip": 1, "drop_tcp_fragment": 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_first_one_has_the_whole_tcp_header(balancer: Balancer, version: int) -> None:
    """RFC 1858, 3128 and, for the options, 7112: what is behind it is not looked at."""
    set_up(balancer)
    client, vip = icmp_packets.addresses(version)
    tcp = bytes(icmp_packets.transport_layer("tcp", 4000, packets.VIP_PORT))
    with_options = tcp[:12] + b"\x80" + tcp[13:] + bytes(12)
    for transport, verdict in ((tcp[:8], XDP_DROP), (tcp[:16], XDP_DROP), (tcp + bytes(4), XDP_TX)):
        header = (
            icmp_packets.internet_layer(4, src=client, dst=vip, id=1, flags="MF", proto=6)
            if version == 4
            else icmp_packets.internet_layer(6) / IPv6ExtHdrFragment(nh=6, m=1, id=1)
        )
        assert balancer.send(packets.in_frame(header / Raw(transport))).verdict == verdict
        assert balancer.send(packets.in_frame(header / Raw(with_options[:24]))).verdict == XDP_DROP
        assert balancer.send(packets.in_frame(header / Raw(with_options))).verdict == XDP_TX


def test_all_bits_of_an_ipv6_identification_count(balancer: Balancer) -> None:
    set_up(balancer)
    balancer.send(fragments(6)[0])
    for bit in range(32):
        assert balancer.send(fragments(6, identification=IDENTIFICATION ^ 1 << bit)[1]).verdict == XDP_DROP


@pytest.mark.parametrize("version", VERSIONS)
def test_are_waited_for_half_a_minute(balancer: Balancer, version: int) -> None:
    set_up(balancer)
    first, second = fragments(version)[:2]
    for age, verdict in ((FRAGMENT_SECONDS - 5, XDP_TX), (FRAGMENT_SECONDS + 1, XDP_DROP)):
        balancer.send(first)
        age_records(balancer, age)
        assert balancer.send(second).verdict == verdict


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("shows", "entry"),
    [
        ("down", backend(1, usable=False)),
        ("another one that has its id now", replace(backend(1), epoch=EPOCH + 1)),
    ],
)
def test_do_not_follow_to_a_backend_that_is(balancer: Balancer, shows: str, entry: Any, version: int) -> None:
    set_up(balancer)
    first, second = fragments(version)[:2]
    balancer.send(first)
    balancer.plane.write_backends([entry])
    assert balancer.send(second).verdict == XDP_DROP, shows
    assert stopped(balancer) == {"drop_fragment": 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_follow_only_a_first_one_that_was_sent_on(balancer: Balancer, version: int) -> None:
    set_up(balancer, usable=False)
    first, second = fragments(version)[:2]
    balancer.send(first)
    set_up(balancer)
    balancer.send(second)
    assert stopped(balancer) == {"drop_backend_down": 1, "drop_fragment": 1}


@pytest.mark.parametrize(
    ("version", "fields", "reason"),
    [
        (4, {"ttl": 1}, "drop_ttl"),
        (6, {"ttl": 0}, "drop_ttl"),
        (4, {"src": packets.VIP}, "drop_land"),
    ],
)
def test_are_checked_like_whole_packets(balancer: Balancer, version: int, fields: dict[str, Any], reason: str) -> None:
    set_up(balancer)
    balancer.send(fragments(version, **fields)[1])
    assert stopped(balancer) == {reason: 1}


def test_their_header_checksum_is_checked(balancer: Balancer) -> None:
    set_up(balancer)
    frame = bytearray(fragments(4)[1])
    frame[CHECKSUM_AT] ^= 1
    balancer.send(bytes(frame))
    assert stopped(balancer) == {"drop_bad_checksum": 1}


def test_a_first_one_may_say_how_long_its_datagram_is(balancer: Balancer) -> None:
    """UDP's length is that of the whole datagram: more than the first fragment has."""
    set_up(balancer)
    for version in VERSIONS:
        assert balancer.send(fragments(version)[0]).verdict == XDP_TX


def test_an_ipv6_packet_in_one_fragment_is_whole(balancer: Balancer) -> None:
    """RFC 6946: a fragment header that says "first and last" changes nothing, and nothing is remembered."""
    set_up(balancer)
    transport = icmp_packets.transport_layer("udp", 4000, packets.VIP_PORT) / Raw(b"whole")
    frame = packets.in_frame(icmp_packets.internet_layer(6) / IPv6ExtHdrFragment(id=IDENTIFICATION) / transport)
    assert balancer.send(frame).verdict == XDP_TX
    assert balancer.send(fragments(6)[1]).verdict == XDP_DROP


def test_the_table_takes_more_than_fit_in_it(balancer: Balancer) -> None:
    """Whoever sends first fragments alone pushes out the oldest ones: a new packet is always remembered."""
    set_up(balancer)
    first, second = fragments(4)[:2]
    frame = bytearray(first)
    for number in range(3 * balancer.plane.maps.fragments.info.max_entries):
        frame[SOURCE_AT : SOURCE_AT + 4] = struct.pack("!HH", number >> 16 | 0x0A00, number & 0xFFFF)
        frame[CHECKSUM_AT : CHECKSUM_AT + 2] = bytes(2)
        total = sum(struct.unpack("!10H", frame[14:34]))
        struct.pack_into("!H", frame, CHECKSUM_AT, 0xFFFF - ((total - 1) % 0xFFFF + 1))
        balancer.send(bytes(frame))
    assert stopped(balancer) == {}
    assert balancer.send(first).verdict == XDP_TX
    assert balancer.send(second).verdict == XDP_TX
