# SPDX-License-Identifier: Apache-2.0
"""Pings of a VIP's address: answered here, for VIPs only, with checksums that are right whatever is sent along."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX

pytestmark = pytest.mark.root

VERSIONS = [4, 6]
ETHERNET = 14
HEADER = {4: 20, 6: 40}
CHECKSUM_AT = 2
PADDING = bytes(18)


@pytest.fixture
def pinged(balancer: Balancer) -> Balancer:
    """The VIPs of both families on one backend."""
    balancer.set_up(slot(1), [backend(1)])
    return balancer


def reasons(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


def words(data: bytes) -> int:
    """Return the sum of the 16-bit words, which is to be 0 modulo 65535 and not 0 where a checksum is among them."""
    return sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))


FIELDS: dict[str, dict[str, Any]] = {
    "as ping sends it": {"data": bytes(range(56))},
    "without data": {"data": b""},
    "of an odd length": {"data": b"odd"},
    "as long as a frame": {"data": bytes(1400)},
    "all zeros": {"identifier": 0, "sequence": 0, "data": bytes(8)},
    "TTL 1": {"ttl": 1},
    "TTL 64, as the answer's": {"ttl": 64},
    "TTL 255": {"ttl": 255},
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_is_answered_byte_for_byte(pinged: Balancer, version: int, name: str) -> None:
    request = icmp_packets.echo_request(version, **FIELDS[name])
    result = pinged.send(request)
    assert (result.verdict, result.packet) == (XDP_TX, icmp_packets.echo_reply(request))
    assert reasons(pinged) == {"answer_echo": 1}
    assert pinged.plane.counters().backends[1].packets == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_padding_stays(pinged: Balancer, version: int) -> None:
    request = icmp_packets.echo_request(version)
    assert pinged.send(request + PADDING).packet == icmp_packets.echo_reply(request) + PADDING


@pytest.mark.parametrize("tags", [[5], [5, 6]])
@pytest.mark.parametrize("version", VERSIONS)
def test_tags_stay(pinged: Balancer, version: int, tags: list[int]) -> None:
    """The answer leaves with the tags that the ping came with."""
    request = icmp_packets.echo_request(version)
    result = pinged.send(icmp_packets.tagged(request, tags))
    assert (result.verdict, result.packet) == (XDP_TX, icmp_packets.tagged(icmp_packets.echo_reply(request), tags))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_checksum_there_is(pinged: Balancer, version: int) -> None:
    """A data word that takes the request's checksum through all its values: each answer's is right.

    Right is what the answer's receiver finds: the sum of its words (IPv6: and of the addresses) is 0 in ones'
    complement. A request's checksum of 0xffff is one that no sender computes, and stands for 0.
    """
    start = ETHERNET + HEADER[version]
    request = bytearray(icmp_packets.echo_request(version, data=bytes(2)))
    addresses = slice(start - 32, start) if version == 6 else slice(0, 0)
    pseudo = words(bytes(request[addresses])) + (len(request) - start + 58 if version == 6 else 0)
    struct.pack_into("!H", request, start + CHECKSUM_AT, 0)
    without = words(bytes(request[start:])) + pseudo
    answered = set()
    for checksum in range(0x10000):
        struct.pack_into("!H", request, start + CHECKSUM_AT, checksum)
        struct.pack_into("!H", request, len(request) - 2, -(without + checksum) % 0xFFFF)
        answer = pinged.send(bytes(request)).packet
        message = answer[start:]
        assert message[0] == {4: 0, 6: 129}[version]
        assert message[4:] == request[start + 4 :]
        total = words(message) + pseudo
        assert total, hex(checksum)
        assert total % 0xFFFF == 0, hex(checksum)
        answered.add(message[CHECKSUM_AT : CHECKSUM_AT + 2])
    assert len(answered) == 0xFFFF  # 0 and 0xffff are the same sum
    assert reasons(pinged) == {"answer_echo": 0x10000}


def test_every_header_checksum_there_is(pinged: Balancer) -> None:
    """IPv4's header is answered with a right checksum for all ids, which take it through all values, and all TTLs."""
    request = icmp_packets.echo_request(4, ttl=255)
    header = bytearray(request[ETHERNET : ETHERNET + HEADER[4]])
    for identification in range(0x10000):
        header[8] = identification & 0xFF
        header[10:12] = bytes(2)
        struct.pack_into("!H", header, 4, identification)
        struct.pack_into("!H", header, 10, 0xFFFF - (words(bytes(header)) - 1) % 0xFFFF - 1)
        answer = pinged.send(request[:ETHERNET] + bytes(header) + request[ETHERNET + HEADER[4] :]).packet
        assert words(answer[ETHERNET : ETHERNET + HEADER[4]]) % 0xFFFF == 0, hex(identification)
    assert reasons(pinged) == {"answer_echo": 0x10000}


@dataclass(frozen=True)
class Row:
    """A ping that is not answered, and the reason that counts it."""

    shows: str
    frame: bytes
    reason: str


def bad_checksum(frame: bytes) -> bytes:
    """Return the frame with one bit of the IPv4 header's checksum changed."""
    return frame[:24] + bytes([frame[24] ^ 1]) + frame[25:]


ROWS = [
    Row("of another address", icmp_packets.echo_request(4, dst="203.0.113.11"), "pass_not_tcp_udp"),
    Row("IPv6: of another address", icmp_packets.echo_request(6, dst="2001:db8:ffff::11"), "pass_not_tcp_udp"),
    Row("from the VIP itself", icmp_packets.echo_request(4, src=packets.VIP), "drop_land"),
    Row("IPv6: from the VIP itself", icmp_packets.echo_request(6, src=packets.VIP6), "drop_land"),
    Row("from nobody", icmp_packets.echo_request(4, src="0.0.0.0"), "drop_martian"),
    Row("from everybody", icmp_packets.echo_request(4, src="255.255.255.255"), "drop_martian"),
    Row("from a group", icmp_packets.echo_request(4, src="239.255.255.255"), "drop_martian"),
    Row("IPv6: from nobody", icmp_packets.echo_request(6, src="::"), "drop_martian"),
    Row("IPv6: from a group", icmp_packets.echo_request(6, src="ff0e::1"), "drop_martian"),
    Row("of no address", icmp_packets.echo_request(4, dst="0.0.0.0"), "pass_not_tcp_udp"),
    Row("with IPv4 options", icmp_packets.echo_request(4, options=packets.ip_options(4)), "pass_not_tcp_udp"),
    Row("behind an extension header", icmp_packets.echo_request_behind_options(), "pass_not_tcp_udp"),
    Row("with a wrong header checksum", bad_checksum(icmp_packets.echo_request(4)), "drop_bad_checksum"),
    Row("of code 1", icmp_packets.echo_request(4, code=1), "pass_not_tcp_udp"),
    Row("IPv6: of code 1", icmp_packets.echo_request(6, code=1), "pass_not_tcp_udp"),
    Row("an answer", icmp_packets.echo_reply(icmp_packets.echo_request(4, src=packets.VIP)), "pass_not_tcp_udp"),
    Row("a first fragment", icmp_packets.echo_request(4, flags="MF"), "pass_not_tcp_udp"),
    Row("a later fragment", icmp_packets.echo_request(4, frag=3), "pass_not_tcp_udp"),
    Row("cut short by the IP length", packets.with_ip(icmp_packets.echo_request(4), len=27), "pass_not_tcp_udp"),
    Row("ICMPv6 in IPv4", icmp_packets.echo_request(4, proto=58), "pass_not_tcp_udp"),
    Row("ICMP in IPv6", icmp_packets.echo_request(6, nh=1), "pass_not_tcp_udp"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_is_not_answered(pinged: Balancer, row: Row) -> None:
    result = pinged.send(row.frame)
    assert result.verdict == (XDP_PASS if row.reason.startswith("pass") else XDP_DROP)
    assert result.packet == row.frame
    assert reasons(pinged) == {row.reason: 1}


NOBODY = {
    "broadcast": "ffffffffffff",
    "IPv4 multicast": "01005e000005",
    "IPv6 multicast": "333300000001",
    "the group bit alone": "010000000000",
    "zeros": "000000000000",
    "the balancer's own": packets.BALANCER_MAC.replace(":", ""),
}
"""MACs that no answer can be sent to."""


@pytest.mark.parametrize("tags", [[], [5], [5, 6]])
@pytest.mark.parametrize("mac", NOBODY)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_mac_that_is_nobody_s_gets_no_answer(pinged: Balancer, version: int, mac: str, tags: list[int]) -> None:
    request = bytearray(icmp_packets.tagged(icmp_packets.echo_request(version), tags))
    request[6:12] = bytes.fromhex(NOBODY[mac])
    result = pinged.send(bytes(request))
    assert (result.verdict, result.packet) == (XDP_DROP, bytes(request))
    assert reasons(pinged) == {"drop_source_mac": 1}


@pytest.mark.parametrize("mac", ["020000000000", "0200000001fe", "fe0000000000", "000000000001", "020000000103"])
def test_a_mac_beside_them_does(pinged: Balancer, mac: str) -> None:
    request = bytearray(icmp_packets.echo_request(4))
    request[6:12] = bytes.fromhex(mac)
    assert pinged.send(bytes(request)).packet[:6].hex() == mac


@pytest.mark.parametrize("version", VERSIONS)
def test_addresses_in_the_frame_are_the_ones_answered(pinged: Balancer, version: int) -> None:
    """Many clients: each gets its own answer."""
    sources = {4: [f"192.0.2.{number}" for number in range(1, 100)], 6: [f"2001:db8::{n:x}:1" for n in range(1, 100)]}
    for source in sources[version]:
        request = icmp_packets.echo_request(version, src=source)
        assert pinged.send(request).packet == icmp_packets.echo_reply(request)
