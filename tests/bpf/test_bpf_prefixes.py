# SPDX-License-Identifier: Apache-2.0
"""VIPs of several ports or addresses: of those that match a packet, the most specific one gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot, vip_entry
from xdplb.dataplane.libbpf import XDP_PASS, XDP_TX

pytestmark = pytest.mark.root

KEYS = {
    1: "203.0.113.10:80/tcp",
    2: "203.0.113.10:80-89/tcp",
    3: "203.0.113.10:0/tcp+udp",
    4: "203.0.113.0/24:80/tcp",
    5: "203.0.113.0/24:0/udp",
    6: "203.0.0.0/16:443/tcp+udp",
    7: "203.0.0.0/16:53/tcp",
    8: "203.0.0.0/16:53/udp",
    11: "[2001:db8:f::10]:80/tcp",
    12: "[2001:db8:f::10]:0/tcp",
    13: "[2001:db8:f::/48]:80-443/tcp+udp",
    14: "[2001:db8::/32]:0/udp",
}


@dataclass(frozen=True)
class Row:
    """A packet, and the VIP that gets it, None where it is nobody's."""

    shows: str
    protocol: str
    destination: str
    port: int
    vip: int | None


ROWS = [
    Row("one address and port", "tcp", "203.0.113.10", 80, 1),
    Row("the first of a range", "tcp", "203.0.113.10", 81, 2),
    Row("the last of a range", "tcp", "203.0.113.10", 89, 2),
    Row("behind the range, all ports", "tcp", "203.0.113.10", 90, 3),
    Row("the last port of all", "tcp", "203.0.113.10", 65535, 3),
    Row("port 0 is none of all ports", "tcp", "203.0.113.10", 0, None),
    Row("the other protocol", "udp", "203.0.113.10", 80, 3),
    Row("a neighbour in the prefix", "tcp", "203.0.113.11", 80, 4),
    Row("a neighbour's other port", "tcp", "203.0.113.11", 81, None),
    Row("a neighbour, UDP", "udp", "203.0.113.255", 81, 5),
    Row("the prefix around it, of the longer one no rule matching", "tcp", "203.0.113.11", 443, 6),
    Row("the longer prefix wins", "udp", "203.0.113.11", 443, 5),
    Row("the shorter prefix alone", "udp", "203.0.7.7", 443, 6),
    Row("two VIPs of one prefix, TCP", "tcp", "203.0.7.7", 53, 7),
    Row("two VIPs of one prefix, UDP", "udp", "203.0.7.7", 53, 8),
    Row("outside of all prefixes", "tcp", "203.1.0.1", 443, None),
    Row("IPv6: one address and port", "tcp6", "2001:db8:f::10", 80, 11),
    Row("IPv6: all ports", "tcp6", "2001:db8:f::10", 81, 12),
    Row("IPv6: a neighbour in the prefix", "tcp6", "2001:db8:f:ffff::1", 443, 13),
    Row("IPv6: behind the range", "tcp6", "2001:db8:f:ffff::1", 444, None),
    Row("IPv6: the prefix around it", "udp6", "2001:db8:f::10", 444, 14),
    Row("IPv6: outside of all prefixes", "udp6", "2001:db9::1", 80, None),
]

MAKE: dict[str, Callable[..., bytes]] = {
    "tcp": packets.tcp,
    "udp": packets.udp,
    "tcp6": packets.tcp6,
    "udp6": packets.udp6,
}


@pytest.fixture
def prefixes(balancer: Balancer) -> Balancer:
    """All of KEYS, each on a backend of its own with the VIP's id."""
    balancer.plane.write_backends([backend(vip_id) for vip_id in KEYS])
    for vip_id in KEYS:
        balancer.plane.write_table(vip_id, balancer.slots(slot(vip_id)))
    balancer.plane.write_vips([vip_entry(vip_id, key) for vip_id, key in KEYS.items()])
    return balancer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_the_most_specific_vip_wins(prefixes: Balancer, row: Row) -> None:
    frame = MAKE[row.protocol](destination=row.destination, port=row.port)
    result = prefixes.send(frame)
    if row.vip is None:
        assert (result.verdict, result.packet) == (XDP_PASS, frame)
        assert prefixes.plane.counters().reasons["pass_no_vip"] == 1
        return
    assert (result.verdict, result.packet) == (XDP_TX, packets.through_dr(frame, row.vip))
    assert {number for number, vip in prefixes.plane.counters().vips.items() if vip.packets} == {row.vip}


@pytest.mark.parametrize(
    ("destination", "reason"),
    [("203.0.113.10", "drop_fragment"), ("203.0.7.7", "drop_fragment"), ("203.1.0.1", "pass_fragment")],
)
def test_an_address_of_a_prefix_has_vips(prefixes: Balancer, destination: str, reason: str) -> None:
    """Later fragments whose first one was not seen are dropped for addresses with VIPs alone."""
    prefixes.send(packets.fragments(destination)[1])
    assert prefixes.plane.counters().reasons[reason] == 1


def test_as_many_rules_as_there_can_be(balancer: Balancer) -> None:
    """32 VIPs of one prefix: each of them is found, the last one too."""
    ids = range(1, 33)
    balancer.plane.write_backends([backend(vip_id) for vip_id in ids])
    for vip_id in ids:
        balancer.plane.write_table(vip_id, balancer.slots(slot(vip_id)))
    balancer.plane.write_vips([vip_entry(vip_id, f"203.0.113.0/24:{1000 + vip_id}/tcp") for vip_id in ids])
    for vip_id in ids:
        frame = packets.tcp(port=1000 + vip_id)
        assert balancer.send(frame).packet == packets.through_dr(frame, vip_id)
