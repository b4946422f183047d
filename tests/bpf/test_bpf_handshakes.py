# SPDX-License-Identifier: Apache-2.0
"""What the packets of sampled connections tell of their handshakes, and what other packets leave behind: nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import VIP6_IDS, VIP_IDS, Balancer, backend, slot
from xdplb.dataplane.layout import HANDSHAKE_ANSWERED, HANDSHAKE_FIN, HANDSHAKE_RESET
from xdplb.dataplane.libbpf import XDP_TX
from xdplb.model.vip import Protocol

pytestmark = pytest.mark.root

ALL = 0xFFFFFFFF
FIRST, SECOND = 1, 2
TCP4, TCP6 = VIP_IDS[Protocol.TCP], VIP6_IDS[Protocol.TCP]


@pytest.fixture
def sampled(balancer: Balancer) -> Balancer:
    """A balancer of which all VIPs are sampled, with all slots at one backend."""
    balancer.set_up(slot(FIRST), [backend(FIRST), backend(SECOND), backend(3, version=6, inner_version=6)])
    plane = balancer.plane
    plane.write_vips([replace(vip, is_sampled=True) for vip in plane.read_vips().values()])
    plane.write_shares(dict.fromkeys(plane.read_vips(), ALL))
    for name in ("handshakes", "handshake_stats"):
        found = getattr(plane.maps, name)
        found.update_batch(
            np.arange(found.info.max_entries, dtype=np.uint32),
            np.zeros((found.info.max_entries, found.value_bytes), np.uint8),
        )
    return balancer


def send(balancer: Balancer, *flags: str, port: int = packets.CLIENT_PORT) -> None:
    """Send packets of one connection; flags in scapy's letters."""
    for each in flags:
        assert balancer.send(packets.tcp(each, source_port=port)).verdict == XDP_TX


def counted(balancer: Balancer, backend_id: int = FIRST) -> dict[str, int]:
    """Return the counters of a backend that are not 0, without times."""
    row = balancer.plane.handshake_counters([backend_id])[0]
    names = ("begun", "repeated", "answered", "refused", "reset")
    assert int(row["latency"].sum()) == int(row["answered"])
    return {name: int(row[name]) for name in names if row[name]}


@pytest.mark.parametrize(
    ("sent", "counts", "flags"),
    [
        ("S", {"begun": 1}, 0),
        ("S S S", {"begun": 1, "repeated": 2}, 0),
        ("S A", {"begun": 1, "answered": 1}, HANDSHAKE_ANSWERED),
        ("S A A PA", {"begun": 1, "answered": 1}, HANDSHAKE_ANSWERED),
        ("S PA", {"begun": 1, "answered": 1}, HANDSHAKE_ANSWERED),  # the ACK was lost, the data came
        ("S S A", {"begun": 1, "repeated": 1, "answered": 1}, HANDSHAKE_ANSWERED),
        ("S R", {"begun": 1, "refused": 1}, HANDSHAKE_RESET),
        ("S R R", {"begun": 1, "refused": 1}, HANDSHAKE_RESET),
        ("S R A", {"begun": 1, "refused": 1}, HANDSHAKE_RESET),
        ("S A R", {"begun": 1, "answered": 1, "reset": 1}, HANDSHAKE_ANSWERED | HANDSHAKE_RESET),
        ("S A FA", {"begun": 1, "answered": 1}, HANDSHAKE_ANSWERED | HANDSHAKE_FIN),
        ("S SA", {"begun": 1}, 0),  # no client's kernel sends a SYN-ACK: nobody has answered
        ("S A FA S", {"begun": 2, "answered": 1}, 0),  # the port is used again
        ("A", {}, None),  # a connection that began unseen
    ],
)
def test_what_a_connection_shows(sampled: Balancer, sent: str, counts: dict[str, int], flags: int | None) -> None:
    send(sampled, *sent.split())
    assert counted(sampled) == counts
    rows = sampled.plane.read_handshakes(0)
    assert [int(row["flags"]) for row in rows] == ([] if flags is None else [flags])


def test_the_latency_is_from_the_first_syn_to_the_answer(sampled: Balancer) -> None:
    send(sampled, "S")
    time.sleep(0.02)
    send(sampled, "S", "A")
    row = sampled.plane.handshake_counters([FIRST])[0]
    assert 0.02 < int(row["latency_ns"]) / 1e9 < 0.5
    (bucket,) = np.flatnonzero(row["latency"])
    assert 1 << (15 + int(bucket)) <= int(row["latency_ns"]) < 1 << (16 + int(bucket))


def test_the_source_is_the_address_or_half_of_one(sampled: Balancer) -> None:
    plane = sampled.plane
    send(sampled, "S")
    plane.write_table(TCP6, sampled.slots(slot(3)))
    assert sampled.send(packets.tcp6("S")).verdict == XDP_TX
    sources = {int(row["vip"]): int(row["source"]) for row in plane.read_handshakes(0)}
    assert sources == {TCP4: int(IPv4Address(packets.CLIENT)) << 32, TCP6: int(IPv6Address(packets.CLIENT6)) >> 64}
    assert counted(sampled, 3) == {"begun": 1}


def test_a_syn_that_goes_elsewhere_begins_anew(sampled: Balancer) -> None:
    """What the first backend left unanswered is not the second one's time; a late packet to it says nothing."""
    send(sampled, "S")
    sampled.plane.write_table(TCP4, sampled.slots(slot(SECOND)))
    send(sampled, "S", "A")
    assert counted(sampled) == {"begun": 1}
    assert counted(sampled, SECOND) == {"begun": 1, "answered": 1}


def test_an_answer_to_another_holder_of_the_id_does_not_count(sampled: Balancer) -> None:
    send(sampled, "S")
    sampled.plane.write_backends([replace(backend(FIRST), epoch=99)])
    send(sampled, "A")
    assert counted(sampled) == {}  # the counters began anew, and the answer was to the one before


def test_one_that_waits_keeps_its_place(sampled: Balancer) -> None:
    """So a flood does not push out those whose answer is still to come: at most it leaves no room for others."""
    ports = range(1024, 65000)
    for port in ports:
        sampled.send(_raw_syn(port))
    rows = sampled.plane.read_handshakes(0)
    assert len(rows) == counted(sampled)["begun"] < len(ports)
    send(sampled, "A", port=1024)
    assert counted(sampled)["answered"] == 1


@pytest.mark.parametrize("share", [0, 1 << 30, ALL])
def test_only_the_share_is_sampled(sampled: Balancer, share: int) -> None:
    sampled.plane.write_shares({TCP4: share})
    for port in range(2000, 4000):
        sampled.send(_raw_syn(port))
    begun = counted(sampled).get("begun", 0)
    assert abs(begun - 2000 * share / 2**32) < 200


def test_a_vip_that_is_not_sampled_leaves_nothing(sampled: Balancer) -> None:
    plane = sampled.plane
    plane.write_vips([replace(vip, is_sampled=False) for vip in plane.read_vips().values()])
    send(sampled, "S", "A", "R")
    assert counted(sampled) == {}


def test_datagrams_leave_nothing(sampled: Balancer) -> None:
    assert sampled.send(packets.udp()).verdict == XDP_TX
    assert counted(sampled) == {}


def test_what_is_not_sent_leaves_nothing(sampled: Balancer) -> None:
    sampled.plane.write_backends([backend(FIRST, usable=False)])
    sampled.send(packets.tcp("S"))
    assert counted(sampled) == {}


@pytest.mark.parametrize("sent", ["S", "S A R"])
def test_explaining_notes_nothing(sampled: Balancer, sent: str) -> None:
    send(sampled, "S")
    before = sampled.plane.read_handshakes(0).tobytes()
    for flags in sent.split():
        sampled.plane.explain(packets.tcp(flags), 1)
    assert sampled.plane.read_handshakes(0).tobytes() == before
    assert counted(sampled) == {"begun": 1}


def _raw_syn(port: int) -> bytes:
    """Return a SYN from this port; scapy would take a minute for thousands. The program looks at no TCP checksum."""
    frame = bytearray(_TEMPLATE)
    frame[34:36] = port.to_bytes(2, "big")
    return bytes(frame)


_TEMPLATE = packets.tcp("S")
