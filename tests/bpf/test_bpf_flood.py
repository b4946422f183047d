# SPDX-License-Identifier: Apache-2.0
"""A flood of packets from random sources, several times as many as a flow table holds, costs no open connection."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import VIP_IDS, Balancer, backend, slot
from xdplb.dataplane.layout import FLOW_ESTABLISHED
from xdplb.dataplane.libbpf import XDP_TX
from xdplb.model.vip import Protocol

pytestmark = pytest.mark.root

OLD, NEW = 1, 2
VIP_ID = VIP_IDS[Protocol.TCP]
CONNECTIONS = 500
FLOOD = 20_000
"""Five times what the flow table of these tests holds, and twenty times the one of flows on probation."""

IP_AT, CHECKSUM_AT, SOURCE_AT, SOURCE_PORT_AT = 14, 24, 26, 34


class Sender:
    """Makes segments like one that scapy made, of any client, as fast as a test needs them."""

    def __init__(self, flags: str) -> None:
        self._frame = bytearray(packets.tcp(flags, payload=b""))

    def frame(self, source: int, port: int) -> bytes:
        """Return the segment from this address and port; its TCP checksum, which nobody looks at, is wrong."""
        frame = self._frame
        struct.pack_into(">HI", frame, CHECKSUM_AT, 0, source)
        struct.pack_into(">H", frame, SOURCE_PORT_AT, port)
        total = sum(struct.unpack_from(">10H", frame, IP_AT))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into(">H", frame, CHECKSUM_AT, 0xFFFF ^ ((total & 0xFFFF) + (total >> 16)))
        return bytes(frame)


def connections() -> Iterator[tuple[int, int]]:
    """Yield the address and port of each open connection."""
    return ((int(IPv4Address("192.0.2.0")) + number % 200, 10_000 + number) for number in range(CONNECTIONS))


def flood(balancer: Balancer, flags: str) -> None:
    """Send packets from random sources."""
    rng, sender = random.Random(1), Sender(flags)
    for _ in range(FLOOD):
        balancer.send(sender.frame(rng.randrange(0x01000000, 0x7F000000), rng.randrange(1024, 65536)))


def talk(balancer: Balancer, flags: str) -> list[int]:
    """Let each connection send a segment and return who got it."""
    sender = Sender(flags)
    macs = {bytes.fromhex(packets.backend_mac(number).replace(":", "")): number for number in (OLD, NEW)}
    results = [balancer.send(sender.frame(*client)) for client in connections()]
    assert {result.verdict for result in results} == {XDP_TX}
    return [macs[result.packet[:6]] for result in results]


def test_in_steady_slots_a_flood_leaves_nothing_behind(balancer: Balancer) -> None:
    balancer.set_up(slot(OLD), [backend(OLD), backend(NEW)])
    flood(balancer, "S")
    assert len(balancer.plane.scan_flows().backend) == 0
    assert balancer.plane.counters().vips[VIP_ID].new_flows == FLOOD


def test_open_connections_outlive_a_flood_where_every_flow_is_recorded(balancer: Balancer) -> None:
    """They began with OLD; without their records they would go to NEW, who owns all slots by now."""
    balancer.set_up(slot(OLD), [backend(OLD), backend(NEW)], track_always=True)
    talk(balancer, "S")
    assert talk(balancer, "A") == [OLD] * CONNECTIONS
    balancer.write_slots(slot(NEW))
    flood(balancer, "S")
    assert talk(balancer, "PA") == [OLD] * CONNECTIONS
    counters = balancer.plane.counters().vips[VIP_ID]
    assert counters.at_risk == 0
    assert counters.records == balancer.plane.flow_count() == CONNECTIONS


def test_open_connections_outlive_a_flood_while_their_slots_move(balancer: Balancer) -> None:
    """All are recorded while they speak during the move; the flood's SYNs are the new owner's."""
    balancer.set_up(slot(NEW, OLD), [backend(OLD), backend(NEW)])
    assert talk(balancer, "A") == [OLD] * CONNECTIONS
    flood(balancer, "S")
    balancer.write_slots(slot(NEW, 0xFFFF))
    assert talk(balancer, "A") == [OLD] * CONNECTIONS
    assert balancer.plane.counters().vips[VIP_ID].at_risk == 0


def test_resets_of_hosts_whose_addresses_are_borrowed_end_no_probation(balancer: Balancer) -> None:
    """A host that gets a SYN-ACK it never asked for sends a RST, so that a flood's flows send two packets."""
    balancer.set_up(slot(OLD), [backend(OLD), backend(NEW)], track_always=True)
    syn, reset = Sender("S"), Sender("R")
    for client in connections():
        balancer.send(syn.frame(*client))
        balancer.send(reset.frame(*client))
    found = balancer.plane.scan_flows()
    assert found.probation.all()
    assert np.all(found.flags & FLOW_ESTABLISHED)
    assert balancer.plane.counters().vips[VIP_ID].records == 0
