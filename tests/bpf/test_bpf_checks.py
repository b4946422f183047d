# SPDX-License-Identifier: Apache-2.0
"""What no host sends, or no router may send on: dropped if it is for a VIP, each with its reason, and passed if not."""

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
ELSEWHERE = {4: "203.0.113.11", 6: "2001:db8:ffff::11"}
VIP = {4: packets.VIP, 6: packets.VIP6}
ETHERNET, HEADER = 14, 20
FIN, SYN, RST = 1, 2, 4
FLAGS_AT = 13


def stopped(balancer: Balancer) -> dict[str, int]:
    """Return the reasons counted and how often."""
    return {reason: count for reason, count in balancer.plane.counters().reasons.items() if count}


@pytest.fixture
def guarded(balancer: Balancer) -> Balancer:
    """The VIPs of both families on one backend."""
    balancer.set_up(slot(1), [backend(1)])
    return balancer


@dataclass(frozen=True)
class Row:
    """A packet for a VIP that is dropped, and why; passed as it is where it is for another address."""

    shows: str
    version: int
    fields: dict[str, Any]
    reason: str


ROWS = [
    Row("TTL 0", 4, {"ttl": 0}, "drop_ttl"),
    Row("TTL 1", 4, {"ttl": 1}, "drop_ttl"),
    Row("from the VIP", 4, {"src": VIP[4]}, "drop_land"),
    Row("from the VIP with TTL 1", 4, {"src": VIP[4], "ttl": 1}, "drop_ttl"),
    Row("hop limit 0", 6, {"ttl": 0}, "drop_ttl"),
    Row("hop limit 1", 6, {"ttl": 1}, "drop_ttl"),
    Row("from the VIP", 6, {"src": VIP[6]}, "drop_land"),
    Row("from the VIP with hop limit 1", 6, {"src": VIP[6], "ttl": 1}, "drop_ttl"),
    Row("wrong checksum", 4, {"chksum": 0x1234}, "drop_bad_checksum"),
    Row("checksum 0", 4, {"chksum": 0}, "drop_bad_checksum"),
    Row("wrong checksum and TTL 1", 4, {"chksum": 0x1234, "ttl": 1}, "drop_bad_checksum"),
    Row("wrong checksum from the VIP", 4, {"chksum": 0x1234, "src": VIP[4]}, "drop_bad_checksum"),
]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"IPv{row.version}: {row.shows}")
def test_dropped_for_a_vip_and_passed_for_others(guarded: Balancer, row: Row, protocol: str) -> None:
    frame = icmp_packets.segment(row.version, 100, protocol=protocol, **row.fields)
    result = guarded.send(frame)
    assert (result.verdict, result.packet) == (XDP_DROP, frame)
    assert stopped(guarded) == {row.reason: 1}
    assert guarded.plane.counters().backends[1].packets == 0

    other = icmp_packets.segment(row.version, 100, protocol=protocol, **row.fields, dst=ELSEWHERE[row.version])
    result = guarded.send(other)
    assert (result.verdict, result.packet) == (XDP_PASS, other)
    assert stopped(guarded) == {row.reason: 1, "pass_no_vip": 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_ttl_2_is_enough(guarded: Balancer, version: int) -> None:
    assert guarded.send(icmp_packets.segment(version, 100, ttl=2)).verdict == XDP_TX


def test_half_of_an_ipv6_address_is_not_the_vip(guarded: Balancer) -> None:
    """Land is both halves."""
    upper, lower = VIP[6].split("::")
    for source in (f"{upper}::ffff", f"2001:db9::{lower}"):
        assert guarded.send(icmp_packets.segment(6, 100, src=source)).verdict == XDP_TX


@pytest.mark.parametrize("version", VERSIONS)
def test_flags_that_no_tcp_sends(guarded: Balancer, version: int) -> None:
    """All 256 combinations: none of the six, or SYN together with FIN or RST."""
    frame = bytearray(icmp_packets.segment(version, 100))
    at = len(frame) - 100 + {4: 20, 6: 40}[version] + FLAGS_AT
    forged = 0
    for flags in range(256):
        frame[at] = flags
        is_forged = bool(flags & SYN and flags & (FIN | RST)) or not flags & 0x3F
        assert (guarded.send(bytes(frame)).verdict == XDP_DROP) == is_forged, flags
        forged += is_forged
    assert stopped(guarded) == {"drop_tcp_flags": forged}


def test_udp_has_no_flags(guarded: Balancer) -> None:
    """Where TCP has its flags there is data."""
    for flags in (0, SYN | FIN):
        frame = bytearray(icmp_packets.segment(4, 100, protocol="udp"))
        frame[ETHERNET + HEADER + FLAGS_AT] = flags
        assert guarded.send(bytes(frame)).verdict == XDP_TX


@pytest.mark.parametrize("options", [0, 4, 8, 20, 36, 40])
def test_each_bit_of_a_header_is_in_its_checksum(guarded: Balancer, options: int) -> None:
    """One bit flipped anywhere in the header, options and all, that does not make it another kind of packet."""
    frame = icmp_packets.segment(4, 200, options=packets.ip_options(options))
    assert guarded.send(frame).verdict == XDP_TX
    flipped = 0
    # Version, lengths, fragmentation, protocol and the destination decide earlier.
    for byte in [1, 4, 5, *range(10, 16), *range(HEADER, HEADER + options)]:
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[ETHERNET + byte] ^= 1 << bit
            assert guarded.send(bytes(damaged)).verdict == XDP_DROP, (byte, bit)
            flipped += 1
    assert stopped(guarded) == {"drop_bad_checksum": flipped}


def test_both_zeros_of_ones_complement(guarded: Balancer) -> None:
    """A header whose sum without checksum is 0xffff: 0 and 0xffff are the same checksum for whoever adds it up."""
    frame = bytearray(icmp_packets.segment(4, 100))
    frame[ETHERNET + 10 : ETHERNET + 12] = bytes(2)
    frame[ETHERNET + 4 : ETHERNET + 6] = bytes(2)
    total = sum(struct.unpack("!10H", frame[ETHERNET : ETHERNET + HEADER]))
    frame[ETHERNET + 4 : ETHERNET + 6] = (-total % 0xFFFF).to_bytes(2, "big")
    for checksum in (0, 0xFFFF):
        frame[ETHERNET + 10 : ETHERNET + 12] = checksum.to_bytes(2, "big")
        assert guarded.send(bytes(frame)).verdict == XDP_TX


def test_every_checksum_there_is(guarded: Balancer) -> None:
    """Of all 65536 values one is right."""
    right = icmp_packets.segment(4, 60, id=0x1234)
    sent = set()
    frame = bytearray(right)
    for checksum in range(0x10000):
        frame[ETHERNET + 10 : ETHERNET + 12] = checksum.to_bytes(2, "big")
        if guarded.send(bytes(frame)).verdict == XDP_TX:
            sent.add(checksum)
    assert sent == {int.from_bytes(right[ETHERNET + 10 : ETHERNET + 12], "big")}
