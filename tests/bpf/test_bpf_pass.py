# SPDX-License-Identifier: Apache-2.0
"""What is not balanced: passed to the stack untouched, or dropped, each with its reason counted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX

pytestmark = pytest.mark.root

ELSEWHERE = "203.0.113.11"
TCP_FRAME = packets.tcp("PA")
UDP_FRAME = packets.udp()
ELSEWHERE_FRAME = packets.tcp("PA", destination=ELSEWHERE)
ETHERNET, IP_HEADER, MAC = 14, 20, 6
BROADCAST = b"\xff" * MAC


@dataclass(frozen=True)
class Row:
    """A frame that stops, and the reason that counts it."""

    shows: str
    frame: bytes
    reason: str


ROWS = [
    Row("ARP", packets.arp(), "pass_not_ip"),
    Row("nothing but an Ethernet header of another type", packets.arp()[:ETHERNET], "pass_not_ip"),
    Row("to all of the segment", BROADCAST + TCP_FRAME[MAC:], "pass_not_unicast"),
    Row("to a group", b"\x01\x00\x5e\x00\x00\x05" + UDP_FRAME[MAC:], "pass_not_unicast"),
    Row("a ping to all of the segment", BROADCAST + packets.icmp(packets.VIP)[MAC:], "pass_not_unicast"),
    Row("to all of the segment, with a tag", BROADCAST + packets.vlan()[MAC:], "pass_not_unicast"),
    Row("... for another address", BROADCAST + ELSEWHERE_FRAME[MAC:], "pass_not_unicast"),
    Row("... cut short", BROADCAST + TCP_FRAME[MAC:ETHERNET], "pass_not_unicast"),
    Row("ping of another address", packets.icmp(ELSEWHERE), "pass_not_tcp_udp"),
    Row("SCTP", packets.other_protocol(132), "pass_not_tcp_udp"),
    Row("IPIP", packets.other_protocol(4), "pass_not_tcp_udp"),
    Row("another address", packets.tcp("S", destination=ELSEWHERE), "pass_no_vip"),
    Row("another port", packets.tcp("S", port=81), "pass_no_vip"),
    Row("the port swapped in its bytes", packets.tcp("S", port=80 << 8), "pass_no_vip"),
    Row("port 0", packets.tcp("S", port=0), "pass_no_vip"),
    Row("the VIP as the source", packets.tcp("S", source=packets.VIP, destination=ELSEWHERE), "pass_no_vip"),
    Row("broadcast", packets.udp(destination="255.255.255.255"), "pass_no_vip"),
    Row("no address", packets.udp(destination="0.0.0.0", port=0), "pass_no_vip"),
    Row("a later fragment before the first one", packets.fragments()[1], "drop_fragment"),
    Row("the first fragment for another address", packets.fragments(ELSEWHERE)[0], "pass_no_vip"),
    Row("a later fragment for another address", packets.fragments(ELSEWHERE)[1], "pass_fragment"),
    Row("a fragment for no address", packets.fragments("0.0.0.0")[1], "pass_fragment"),
    Row("Ethernet alone", TCP_FRAME[:ETHERNET], "pass_malformed"),
    Row("an IP header cut short", TCP_FRAME[: ETHERNET + IP_HEADER - 1], "pass_malformed"),
    Row("TCP cut short by the frame", TCP_FRAME[: ETHERNET + IP_HEADER + 19], "drop_bad_length"),
    Row("TCP cut short by the IP length", packets.with_ip(TCP_FRAME, len=39), "drop_bad_length"),
    Row("UDP cut short by the IP length", packets.with_ip(UDP_FRAME, len=27), "drop_bad_length"),
    Row("longer than the frame", packets.with_ip(TCP_FRAME, len=len(TCP_FRAME) - ETHERNET + 1), "drop_bad_length"),
    Row("shorter than its header", packets.with_ip(TCP_FRAME, len=19), "drop_bad_length"),
    Row("a header of 16 bytes", packets.with_ip(TCP_FRAME, ihl=4), "drop_bad_length"),
    Row("options behind the end", packets.with_ip(packets.tcp("A", payload=b""), ihl=15), "drop_bad_length"),
    Row("too long for another address", packets.with_ip(ELSEWHERE_FRAME, len=1000), "pass_malformed"),
    Row("a header of 16 bytes for another address", packets.with_ip(ELSEWHERE_FRAME, ihl=4), "pass_malformed"),
    Row("TCP cut short for another address", packets.with_ip(ELSEWHERE_FRAME, len=39), "pass_malformed"),
    Row("IP version 5", packets.with_ip(TCP_FRAME, version=5), "pass_malformed"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_stops_untouched_and_counted(balancer: Balancer, row: Row) -> None:
    balancer.set_up(slot(1), [backend(1)])
    result = balancer.send(row.frame)
    assert result.verdict == (XDP_PASS if row.reason.startswith("pass") else XDP_DROP)
    assert result.packet == row.frame
    counters = balancer.plane.counters()
    assert {reason: count for reason, count in counters.reasons.items() if count} == {row.reason: 1}
    assert counters.backends[1].packets == 0


def test_the_smallest_whole_packets_are_balanced(balancer: Balancer) -> None:
    """The rows above are one byte short of these."""
    balancer.set_up(slot(1), [backend(1)])
    for frame in (packets.tcp("A", payload=b""), packets.udp(payload=b"")):
        assert balancer.send(frame).verdict == XDP_TX


def test_a_vip_without_a_table_has_no_backend(balancer: Balancer) -> None:
    balancer.write_vips()
    assert balancer.send(TCP_FRAME).verdict == XDP_DROP
    assert balancer.plane.counters().reasons["drop_no_backend"] == 1


def test_without_vips_everything_passes(balancer: Balancer) -> None:
    for frame, reason in ((TCP_FRAME, "pass_no_vip"), (packets.fragments()[1], "pass_fragment")):
        result = balancer.send(frame)
        assert (result.verdict, result.packet) == (XDP_PASS, frame)
        assert balancer.plane.counters().reasons[reason] == 1


def test_a_vip_is_one_protocol(balancer: Balancer) -> None:
    """TCP and UDP on one port are two VIPs with their own counters."""
    balancer.set_up(slot(1), [backend(1)])
    balancer.send(TCP_FRAME)
    balancer.send(UDP_FRAME)
    balancer.send(UDP_FRAME)
    packets_of = {number: vip.packets for number, vip in balancer.plane.counters().vips.items()}
    assert {number: count for number, count in packets_of.items() if count} == {1: 1, 2: 2}
