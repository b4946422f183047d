"""The program against a plain Python reference: random and mangled packets, slots in every state, records of any kind.

Compared for each packet: verdict, every byte, the flow's record; at the end of each world: all counters. A failure
prints the seed and the packet's number.
"""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from dataclasses import asdict, replace
from ipaddress import IPv4Address

import numpy as np
import pytest

from tests.bpf import balancer as setup
from tests.bpf.balancer import Balancer
from tests.bpf.reference import Flow, Record, Reference, flow_of
from xdplb.dataplane import layout
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.vip import Forward, VipKey

pytestmark = pytest.mark.root

PACKETS = 2500  # a world; 10 times as many were run when this was written
COARSE_MONOTONIC = 6  # the clock of bpf_ktime_get_coarse_ns
SECOND = 10**9
IDLE_SECONDS = 60
RECORD = "=HHIQ"  # struct flow
CLIENTS = [int(IPv4Address(f"198.51.100.{number}")) for number in range(1, 25)]
FLAGS = [0x02, 0x02, 0x10, 0x10, 0x18, 0x12, 0x11, 0x04, 0x14, 0x06, 0x03, 0x00, 0xC2, 0xFF]
KEYS = [
    "203.0.113.10:80/tcp",
    "203.0.113.10:80/udp",
    "203.0.113.11:443/tcp",
    "203.0.113.11:53/udp",
    "203.0.113.12:9/tcp",
]
VIPS = [
    VipEntry(number, VipKey.parse(key), track_always=track, hash_source=by_source, idle_seconds=IDLE_SECONDS)
    for number, (key, track, by_source) in enumerate(
        zip(KEYS, [False, False, True, True, False], [False, True, False, False, True], strict=True), start=1
    )
]
ADDRESSES = [int(vip.key.address) for vip in VIPS] + [int(IPv4Address("203.0.113.99")), 0, 0xFFFFFFFF]
PORTS = [80, 80, 443, 443, 53, 9, 0, 20480]


def backends() -> list[BackendEntry]:
    """Return some of each kind: forward, MTU, outer source, usable or not, and one that leaves by no NIC of ours."""
    dr, ipip = Forward.DR, Forward.IPIP
    return [
        setup.backend(1),
        setup.backend(2, forward=ipip),
        setup.backend(3, forward=ipip, source="10.200.0.0", source_mask=0xFFFF, mtu=1400),
        setup.backend(4, forward=ipip, source="10.200.0.0", source_mask=0x3FFFF, mtu=9000),
        setup.backend(5, forward=dr, mtu=600),
        setup.backend(6, usable=False),
        setup.backend(7, forward=ipip, ifindex=7777),
    ]


UNUSABLE, NEVER_WRITTEN, BEYOND_THE_MAP = 6, 200, 999
IDS = [1, 2, 3, 4, 5, 6, 7, NEVER_WRITTEN, BEYOND_THE_MAP]


def random_tables(generator: random.Random) -> dict[int, np.ndarray]:
    """Return a table with slots of every state for each VIP but the last."""
    chances = np.random.default_rng(generator.getrandbits(32))
    tables = {}
    for vip in VIPS[:-1]:
        owner = chances.choice([0, *IDS], layout.TABLE_SIZE).astype(np.uint32)
        previous = chances.choice([0, 0, layout.SLOT_PINNED, layout.SLOT_PINNED, *IDS], layout.TABLE_SIZE)
        tables[vip.id] = owner | previous.astype(np.uint32) << np.uint32(16)
    return tables


def random_frame(generator: random.Random) -> bytes:
    """Return a frame that is nearly always whole, in some respect unusual, and sometimes broken."""
    odd = generator.random
    protocol = generator.choice([6, 6, 6, 17, 17]) if odd() < 0.95 else generator.choice([1, 4, 0, 132, 255])
    ports = generator.choice([40000, 40001, 80]), generator.choice(PORTS)
    if protocol == 17:
        transport = struct.pack("!HHHH", *ports, generator.getrandbits(16), generator.getrandbits(16))
    else:
        transport = struct.pack("!HHIIBB", *ports, 1, 2, 0x50, generator.choice(FLAGS)) + generator.randbytes(6)
    size = generator.choice([0, 1, 6, 100, 540, 552, 560, 572, 1340, 1360, 1361, 1380, 1440, 1460, 1480, 1900])
    transport += bytes(size) if odd() < 0.8 else generator.randbytes(generator.randrange(200))
    words = 5 if odd() < 0.7 else generator.randrange(16)
    options = generator.randbytes(max(0, words - 5) * 4)
    length = 20 + len(options) + len(transport)
    if odd() < 0.06:
        length = max(0, min(0xFFFF, length + generator.choice([-9999, -100, -1, 1, 2, 8, 40, 60000])))
    fragment = generator.choice([0, 0x4000, 0x8000]) if odd() < 0.92 else generator.getrandbits(16)
    header = struct.pack(
        "!BBHHHBBHII",
        (4 if odd() < 0.97 else generator.randrange(16)) << 4 | words,
        generator.getrandbits(8),
        length,
        generator.getrandbits(16),
        fragment,
        generator.choice([0, 1, 64, 255]),
        protocol,
        generator.getrandbits(16),
        generator.choice(CLIENTS),
        generator.choice(ADDRESSES),
    )
    kind = b"\x08\x00" if odd() < 0.98 else generator.choice([b"\x08\x06", b"\x86\xdd", b"\x81\x00", b"\x00\x08"])
    frame = generator.randbytes(12) + kind + header + options + transport
    if odd() < 0.06:
        frame = frame[: generator.randrange(14, len(frame) + 1)]
    if odd() < 0.1:
        frame += generator.randbytes(generator.randrange(1, 40))
    return frame


class World:
    """The program and the reference, set up alike."""

    def __init__(self, balancer: Balancer, generator: random.Random) -> None:
        self._balancer, self._random = balancer, generator
        self._flows = balancer.plane.maps.flows
        tables = random_tables(generator)
        entries = backends()
        balancer.plane.write_backends(entries)
        for vip_id, table in tables.items():
            balancer.plane.write_table(vip_id, table)
        balancer.plane.write_vips(VIPS)
        balancer.plane.reset_vip_counters([vip.id for vip in VIPS])
        capacity = balancer.plane.capacity.backends
        everyone = {entry.id: entry for entry in entries}
        self.reference = Reference({vip.id: vip for vip in VIPS}, tables, everyone, capacity)

    def change_record(self, flow: Flow) -> None:
        """Give a flow another record, or none."""
        if self._random.random() < 0.2:
            self._flows.delete(_key(flow))
            self.reference.flows.pop(flow, None)
            return
        epoch = setup.EPOCH if self._random.random() < 0.8 else setup.EPOCH + 1
        age = self._random.choice([0, 0, 30, 120, 3600]) * SECOND
        last_seen = max(1, _now() - age)  # of a host that was started a minute ago, too
        fields = self._random.choice(IDS), epoch, self._random.randrange(8), last_seen
        self._flows.update(_key(flow), struct.pack(RECORD, *fields))
        self.reference.flows[flow] = Record(*fields)

    def send(self, frame: bytes) -> None:
        """Send a frame to both; what comes out and the flow's record must agree."""
        flow = flow_of(frame)
        if flow is not None and self._random.random() < 0.4:
            self.change_record(flow)
        before = _now()
        result = self._balancer.send(frame)
        after = _now()
        expected = self.reference.process(frame, after if self._is_touched(flow) else before)
        assert (result.verdict, result.packet) == (expected.verdict, expected.frame), expected.reason
        if flow is not None:
            self._compare_record(flow, before, after)

    def _is_touched(self, flow: Flow | None) -> bool:
        """Whether the program refreshed the flow's record: between two readings of the clock it may or may not."""
        known = None if flow is None else self.reference.flows.get(flow)
        found = None if flow is None else self._record(flow)
        return known is not None and found is not None and found.last_seen != known.last_seen

    def _record(self, flow: Flow) -> Record | None:
        found = self._flows.lookup(_key(flow))
        return None if found is None else Record(*struct.unpack(RECORD, found))

    def _compare_record(self, flow: Flow, before: int, after: int) -> None:
        found, expected = self._record(flow), self.reference.flows.get(flow)
        if found is not None and expected is not None and expected.last_seen is None:
            assert found.last_seen is not None
            assert before <= found.last_seen <= after
            self.reference.flows[flow] = expected = replace(expected, last_seen=found.last_seen)
        assert found == expected

    def compare_counters(self) -> None:
        """All counters of both agree."""
        counters = self._balancer.plane.counters()
        found = Counter[tuple[object, ...]]({("reason", name): count for name, count in counters.reasons.items()})
        for kind, group in (("vip", counters.vips), ("backend", counters.backends)):
            for number, one in group.items():
                found.update({(kind, number, name): count for name, count in asdict(one).items()})
        assert +found == +self.reference.counts


def _key(flow: Flow) -> bytes:
    source, destination, source_port, port, protocol = flow
    return struct.pack("!IIHH", source, destination, source_port, port) + struct.pack("=I", protocol)


def _now() -> int:
    return time.clock_gettime_ns(COARSE_MONOTONIC)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_reference(balancer: Balancer, seed: int) -> None:
    generator = random.Random(seed)
    world = World(balancer, generator)
    for number in range(PACKETS):
        frame = random_frame(generator)
        try:
            world.send(frame)
        except AssertionError as error:
            error.add_note(f"seed {seed}, packet {number}: {frame.hex()}")
            raise
    world.compare_counters()
    stopped = {name for kind, name, *_ in world.reference.counts if kind == "reason"}
    assert len(stopped) >= 10, "the packets did not reach every reason"
