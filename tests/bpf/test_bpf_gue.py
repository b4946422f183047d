# SPDX-License-Identifier: Apache-2.0
"""GUE, variant 1: an outer IP and UDP header of both families around packets of both, byte for byte."""

from __future__ import annotations

import struct

import pytest

from tests.bpf import leaving, packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_TX
from xdplb.model.vip import Forward

pytestmark = pytest.mark.root

BACKEND = 1
OUTER = [4, 6]
SOURCE_PORT_AT = {4: 34, 6: 54}

FRAMES = {
    "TCP": packets.tcp("PA"),
    "UDP of odd length": packets.udp(payload=b"odd"),
    "DSCP and ECN": packets.tcp(tos=0xB9),
    "IP options": packets.tcp("PA", options=packets.ip_options(8)),
    "IPv6": packets.tcp6("PA"),
    "IPv6 with a traffic class": packets.udp6(tc=0xB9),
    "padding behind the packet": packets.udp6(payload=b"") + bytes(20),
    "1400 bytes": packets.tcp("PA", payload=bytes(1360)),
}


def set_up(balancer: Balancer, outer: int, inner: int = 4, mtu: int = 1500) -> None:
    """Send everything to one backend behind GUE in this family."""
    balancer.set_up(slot(BACKEND), [backend(BACKEND, forward=Forward.GUE, version=outer, inner_version=inner, mtu=mtu)])


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("outer", OUTER)
def test_adds_headers_and_changes_nothing_inside(balancer: Balancer, name: str, outer: int) -> None:
    frame = FRAMES[name]
    set_up(balancer, outer, frame[14] >> 4)
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_TX, leaving.through(frame, BACKEND, Forward.GUE, outer))


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", [4, 6])
def test_the_source_port_tells_flows_apart(balancer: Balancer, outer: int, inner: int) -> None:
    """For RSS and for routers with several ways: ports from 49152 on, of the flow's hash, one for all its packets."""
    set_up(balancer, outer, inner)
    ports = set()
    for client_port in range(20000, 20100):
        frame = (packets.tcp if inner == 4 else packets.tcp6)(source_port=client_port)
        out = balancer.send(frame).packet
        assert out == leaving.through(frame, BACKEND, Forward.GUE, outer, flow_hash=leaving.hash_of(inner, client_port))
        ports.add(struct.unpack_from(">H", out, SOURCE_PORT_AT[outer])[0])
    assert len(ports) > 95
    assert min(ports) >= 49152


@pytest.mark.parametrize("outer", OUTER)
def test_fits_to_the_byte(balancer: Balancer, outer: int) -> None:
    """What fits with both headers is sent; one byte more is too big, and the sender is told what would fit."""
    room = 1500 - leaving.OVERHEAD[Forward.GUE, outer]
    set_up(balancer, outer)
    fits, too_big = (packets.tcp("PA", payload=bytes(length - 40)) for length in (room, room + 1))
    assert balancer.send(fits).packet == leaving.through(fits, BACKEND, Forward.GUE, outer)
    answer = balancer.send(too_big)
    assert balancer.plane.counters().reasons["answer_too_big"] == 1
    assert struct.unpack_from(">H", answer.packet, 14 + 20 + 6)[0] == room
