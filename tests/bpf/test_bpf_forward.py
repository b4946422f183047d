# SPDX-License-Identifier: Apache-2.0
"""What leaves the balancer, byte for byte: DR, IPIP, the NIC it leaves by, and what does not fit."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address
from typing import Any

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.balance.hashing import TABLE_SIZE, flow_hash, slot_of
from xdplb.dataplane.libbpf import XDP_DROP, XDP_REDIRECT, XDP_TX
from xdplb.model.vip import Forward, HashKind

pytestmark = pytest.mark.root

DR, IPIP = 1, 2
LOOPBACK, ANOTHER_NIC, UNKNOWN_NIC = 1, 77, 78

FRAMES = {
    "TCP": packets.tcp("PA"),
    "TCP without payload": packets.tcp("A", payload=b""),
    "TCP of odd length": packets.tcp("PA", payload=b"odd"),
    "UDP": packets.udp(),
    "UDP without payload": packets.udp(payload=b""),
    "IP options": packets.tcp("PA", options=packets.ip_options(8)),
    "as many IP options as there can be": packets.tcp("PA", options=packets.ip_options(40)),
    "DF and an id": packets.with_ip(packets.tcp("PA"), flags="DF", id=4711),
    "TTL 2": packets.tcp("PA", ttl=2),
    "padding behind a short packet": packets.tcp("A", payload=b"").ljust(60, b"\0"),
    "1400 bytes": packets.tcp("PA", payload=bytes(range(256)) * 5 + bytes(80)),
}


def set_up(balancer: Balancer, forward: Forward, **fields: Any) -> int:
    """Send everything to one backend; return its id."""
    backend_id = IPIP if forward is Forward.IPIP else DR
    balancer.set_up(slot(backend_id), [backend(backend_id, forward=forward, **fields)])
    return backend_id


@pytest.mark.parametrize("name", FRAMES)
def test_dr_changes_both_macs_and_nothing_else(balancer: Balancer, name: str) -> None:
    backend_id = set_up(balancer, Forward.DR)
    result = balancer.send(FRAMES[name])
    assert (result.verdict, result.packet) == (XDP_TX, packets.through_dr(FRAMES[name], backend_id))


@pytest.mark.parametrize("name", FRAMES)
def test_ipip_adds_a_header_and_changes_nothing_inside(balancer: Balancer, name: str) -> None:
    backend_id = set_up(balancer, Forward.IPIP)
    result = balancer.send(FRAMES[name])
    assert (result.verdict, result.packet) == (XDP_TX, packets.through_ipip(FRAMES[name], backend_id))


def test_ipip_copies_dscp_and_ecn(balancer: Balancer) -> None:
    """RFC 6040, normal mode: all 64 DSCPs with all 4 ECN fields, each with a right checksum."""
    backend_id = set_up(balancer, Forward.IPIP)
    for tos in range(256):
        frame = packets.tcp("A", tos=tos)
        assert balancer.send(frame).packet == packets.through_ipip(frame, backend_id)


def test_ipip_checksum_of_every_length(balancer: Balancer) -> None:
    """Carries and all: no length gives a wrong checksum."""
    backend_id = set_up(balancer, Forward.IPIP, source="255.254.253.252", mtu=9000)
    for length in range(0, 1461, 7):
        frame = packets.udp(payload=bytes(length), tos=0xFF)
        assert balancer.send(frame).packet == packets.through_ipip(frame, backend_id, "255.254.253.252")


def test_ipip_checksum_that_carries_twice(balancer: Balancer) -> None:
    """Folding the sum once can leave a carry: the source is chosen so that it does."""
    frame = packets.tcp("PA")
    header = packets.through_ipip(frame, IPIP, "255.255.0.0")[14:34]
    words = struct.unpack("<5H2x4H", header)  # without the checksum
    source = str(IPv4Address(bytes([255, 255]) + struct.pack("<H", 0xFFFF - (sum(words) & 0xFFFF))))
    set_up(balancer, Forward.IPIP, source=source)
    assert balancer.send(frame).packet == packets.through_ipip(frame, IPIP, source)


def test_ipip_source_varies_with_the_flow(balancer: Balancer) -> None:
    """The bits of the mask come from the flow's hash: as the control plane computes it, and for RSS all different."""
    mask = 0x0000FFFF
    backend_id = set_up(balancer, Forward.IPIP, source="10.200.0.0", source_mask=mask)
    sources = set()
    for port in range(20000, 20100):
        frame = packets.tcp("A", source_port=port)
        hashed = int(_hash([packets.CLIENT], [port], HashKind.FIVE_TUPLE)[0])
        bits = int.from_bytes((hashed & 0xFFFFFFFF).to_bytes(4, "little"), "big") & mask
        source = str(IPv4Address(int(IPv4Address("10.200.0.0")) | bits))
        assert balancer.send(frame).packet == packets.through_ipip(frame, backend_id, source)
        sources.add(source)
    assert len(sources) > 95


@pytest.mark.parametrize("forward", [Forward.DR, Forward.IPIP])
def test_leaves_by_another_nic(balancer: Balancer, forward: Forward) -> None:
    """The same frame, redirected where the backend is not on the NIC it came in by."""
    backend_id = set_up(balancer, forward, ifindex=ANOTHER_NIC)
    balancer.plane.maps.tx_ports.update(ANOTHER_NIC, LOOPBACK)
    frame = packets.tcp("PA")
    expected = packets.through_dr if forward is Forward.DR else packets.through_ipip
    result = balancer.send(frame)
    assert (result.verdict, result.packet) == (XDP_REDIRECT, expected(frame, backend_id))


def test_a_nic_that_is_not_ours_is_an_internal_error(balancer: Balancer) -> None:
    set_up(balancer, Forward.DR, ifindex=UNKNOWN_NIC)
    assert balancer.send(packets.tcp("PA")).verdict == XDP_DROP
    counters = balancer.plane.counters()
    assert counters.reasons["drop_internal"] == 1
    assert counters.backends[DR].packets == 0


@pytest.mark.parametrize(
    ("forward", "ip_length", "fits"),
    [(Forward.DR, 500, True), (Forward.DR, 501, False), (Forward.IPIP, 480, True), (Forward.IPIP, 481, False)],
)
def test_too_big_for_the_nic(balancer: Balancer, forward: Forward, ip_length: int, *, fits: bool) -> None:
    """The MTU is 500: what fits exactly is sent, one byte more is dropped as it is, being too short for an answer."""
    backend_id = set_up(balancer, forward, mtu=500)
    frame = packets.tcp("PA", payload=bytes(ip_length - 40))
    result = balancer.send(frame)
    assert result.verdict == (XDP_TX if fits else XDP_DROP)
    assert balancer.plane.counters().reasons["drop_too_big"] == int(not fits)
    assert balancer.plane.counters().backends[backend_id].packets == int(fits)
    if not fits:
        assert result.packet == frame


def test_no_room_in_front_of_the_frame(balancer: Balancer) -> None:
    """Metadata of another program takes all headroom: DR does not mind, IPIP cannot push its header."""
    set_up(balancer, Forward.IPIP)
    try:
        assert balancer.send(packets.tcp("PA"), metadata=bytes(208)).verdict == XDP_DROP
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("this kernel takes no more than 32 bytes of metadata")
    assert balancer.plane.counters().reasons["drop_no_headroom"] == 1
    backend_id = set_up(balancer, Forward.DR)
    result = balancer.send(packets.tcp("PA"), metadata=bytes(208))
    assert (result.verdict, result.packet) == (XDP_TX, packets.through_dr(packets.tcp("PA"), backend_id))


def _hash(sources: list[str], ports: list[int], kind: HashKind) -> np.ndarray:
    return flow_hash(
        np.array([int(IPv4Address(source)) for source in sources], np.uint32),
        np.array(ports, np.uint16),
        np.full(len(ports), packets.VIP_PORT, np.uint16),
        kind,
        destination=int(IPv4Address(packets.VIP)),
    )


@pytest.mark.parametrize("kind", HashKind)
def test_slots_are_those_the_control_plane_computes(balancer: Balancer, kind: HashKind) -> None:
    """Many flows over slots that belong to 200 backends in turn: each goes where the Python twin says."""
    owners = np.arange(TABLE_SIZE, dtype=np.uint32) % 200 + 1
    balancer.set_up(owners, [backend(number) for number in range(1, 201)], hash_kind=kind)
    random = np.random.default_rng(1)
    sources = [str(IPv4Address(int(number))) for number in random.integers(1 << 24, 127 << 24, 300)]
    ports = [int(port) for port in random.integers(1, 65536, 300)]
    for source, port, number in zip(sources, ports, slot_of(_hash(sources, ports, kind)), strict=True):
        frame = packets.tcp("A", source=source, source_port=port)
        assert balancer.send(frame).packet == packets.through_dr(frame, int(owners[number]))


def test_hash_source_keeps_a_client_on_one_backend(balancer: Balancer) -> None:
    """All ports of a client go to one backend; with the 5-tuple they do not."""
    owners = np.arange(TABLE_SIZE, dtype=np.uint32) % 50 + 1
    for kind, backends in ((HashKind.SOURCE, 1), (HashKind.ADDRESSES, 1), (HashKind.FIVE_TUPLE, 30)):
        balancer.set_up(owners, [backend(number) for number in range(1, 51)], hash_kind=kind)
        seen = {balancer.send(packets.tcp("A", source_port=port)).packet[:6] for port in range(1000, 1100)}
        assert len(seen) == 1 if backends == 1 else len(seen) >= backends
