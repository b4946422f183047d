# SPDX-License-Identifier: Apache-2.0
"""A million forged SYNs eject nobody: real packets through the program, and what the daemon reads of them."""

from __future__ import annotations

import time
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest

from tests.bench import traffic
from tests.bench.harness import RANDOM, Case, Harness
from tests.bpf.balancer import EPOCH, VIP_IDS, Balancer, backend, vip_entry
from tests.bpf.packets import tcp
from xdplb.control.health.passive.reader import HandshakeReader
from xdplb.control.health.passive.rule import EJECT_BELOW, Finding
from xdplb.control.state.desired import DesiredBackend, DesiredVip
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.libbpf import XDP_TX
from xdplb.model.backend import Backend
from xdplb.model.vip import Passive, Protocol, Vip

pytestmark = pytest.mark.root

VIP_ID = VIP_IDS[Protocol.TCP]
ENTRY = vip_entry(VIP_ID, f"{traffic.VIPS[4]}:80/tcp", is_sampled=True)
BACKENDS = (1, 2, 3)
ROUNDS, SYNS = 10, 100_000
SOURCES = 1 << 31
"""Flows of 32,768 addresses, of which the harness picks one at random for each SYN."""

CLIENTS = [f"192.0.2.{number}" for number in range(1, 21)]


def bound_vip() -> BoundVip:
    """Return the VIP as the control plane has it."""
    backends = {}
    for number in BACKENDS:
        address = ip_address(f"10.0.1.{number}")
        backends[address] = BoundBackend(number, EPOCH, DesiredBackend(Backend(address)), 1)
    return BoundVip(VIP_ID, DesiredVip(Vip(ENTRY.key, passive=Passive.EJECT)), 1, backends)


def set_up(balancer: Balancer) -> None:
    """Give each backend a third of the slots."""
    balancer.set_up(0, [backend(number) for number in BACKENDS])
    balancer.plane.write_table(VIP_ID, np.random.default_rng(1).integers(1, 4, 65537).astype(np.uint32))
    balancer.plane.write_vips([ENTRY])


def test_a_million_forged_syns_eject_nobody(balancer: Balancer, pin_dir: Path) -> None:
    """Real clients go on meanwhile, whose sources are proven. A third of the forged SYNs is for each backend."""
    set_up(balancer)
    (folder := pin_dir / "flood").mkdir()
    harness = Harness(folder)
    flood = Case("flood", balancer.program, traffic.tcp(80, flags="S"), RANDOM, SOURCES)
    vips = {VIP_ID: bound_vip()}
    reader = HandshakeReader(balancer.plane, time.monotonic)
    found: list[Finding] = []
    reader.look(vips, ())
    for number in range(ROUNDS):
        for at, client in enumerate(CLIENTS):
            for flags in ("S", "A"):
                frame = tcp(flags, source=client, source_port=2000 + 20 * number + at, destination=traffic.VIPS[4])
                assert balancer.send(frame).verdict == XDP_TX
        harness.run(flood, SYNS)
        for _ in range(3):
            found += reader.look(vips, ()).findings.get(VIP_ID, {}).values()
            time.sleep(0.1)
    counters = balancer.plane.vip_counters([VIP_ID])[VIP_ID]
    assert counters.new_flows > ROUNDS * SYNS
    assert not [one for one in found if one.chance < EJECT_BELOW]
    begun = balancer.plane.handshake_counters(BACKENDS)["begun"]
    assert 1000 < begun.sum() < 100_000  # the share has come down, and no more than there are places wait
