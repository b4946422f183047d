# SPDX-License-Identifier: Apache-2.0
"""Frames are counted by the NIC that they came in by, and by what XDP did with them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bpf import packets
from tests.bpf.balancer import LOOPBACK, Balancer, backend, slot
from xdplb.dataplane import layout
from xdplb.dataplane.plane import ACTIONS, Attachment

ELSEWHERE = 77
"""A NIC that a backend may be behind."""


def counted(balancer: Balancer) -> dict[tuple[int, str], int]:
    """Return all that is counted, by place and action."""
    stats = balancer.plane.maps.nic_stats
    assert stats is not None
    sums = stats.read_all()[1].view(np.uint64).reshape(layout.NIC_PLACES, -1, layout.NIC_ACTIONS).sum(axis=1)
    return {
        (int(place), ACTIONS[action]): int(sums[place, action]) for place, action in zip(*np.nonzero(sums), strict=True)
    }


@pytest.fixture
def clean(balancer: Balancer) -> Balancer:
    stats = balancer.plane.maps.nic_stats
    assert stats is not None
    for place in range(layout.NIC_PLACES):
        stats.update(place, bytes(stats.value_bytes))
    return balancer


def test_each_frame_is_counted_once_by_its_verdict(clean: Balancer) -> None:
    clean.plane.maps.tx_ports.update(ELSEWHERE, LOOPBACK)
    request = packets.tcp()
    clean.set_up(slot(1), [backend(1)])
    verdicts = [clean.send(request).verdict for _ in range(3)]
    clean.plane.write_backends([backend(1, ifindex=ELSEWHERE)])
    verdicts += [clean.send(request).verdict for _ in range(2)]
    clean.write_slots(slot(layout.NO_BACKEND))
    verdicts.append(clean.send(request).verdict)
    clean.plane.write_vips([])
    verdicts += [clean.send(frame).verdict for frame in (request, b"\xff" * 60)]
    assert [ACTIONS[verdict] for verdict in verdicts] == [*["tx"] * 3, *["redirect"] * 2, "drop", "pass", "pass"]
    assert counted(clean) == {
        (LOOPBACK, "tx"): 3,
        (LOOPBACK, "redirect"): 2,
        (LOOPBACK, "drop"): 1,
        (LOOPBACK, "pass"): 2,
    }


def test_nics_that_share_a_place_are_not_told_of(clean: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"eth0": LOOPBACK, "eth1": 6, "eth2": 7, "eth3": 6 + layout.NIC_PLACES}
    found = [Attachment(name, number, "native", 1) for name, number in numbers.items()]
    monkeypatch.setattr(clean.plane.nics, "attached", lambda: found)
    clean.send(packets.tcp())
    counted = clean.plane.counters().nics
    assert counted == {"eth0": {**dict.fromkeys(ACTIONS, 0), "pass": 1}, "eth2": dict.fromkeys(ACTIONS, 0)}
