# SPDX-License-Identifier: Apache-2.0
"""Packets while tables, index and backends are swapped: each sees the old or the new, none sees nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot, vip_entry
from xdplb.dataplane.libbpf import XDP_TX, obj_get, prog_test_run
from xdplb.model.vip import HashKind

pytestmark = pytest.mark.root

SECONDS = 1.0
TURNS = 2000  # of the program in one test run: DR makes of its own result the same once more
FRAMES = {4: packets.tcp("PA"), 6: packets.tcp6("PA")}
PREFIXES = ["203.0.113.0/24:80-89/tcp", "[2001:db8:f::/48]:80-89/tcp"]


@contextmanager
def meanwhile(*changes: Callable[[], None]) -> Iterator[list[int]]:
    """Make the changes in turn, over and over, in another thread; yield a list that gets an element for each."""
    done: list[int] = []
    is_over = threading.Event()

    def change() -> None:
        for number, make in enumerate(cycle(changes)):
            if is_over.is_set():
                return
            make()
            done.append(number)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield done
    finally:
        is_over.set()
        thread.join()


def write_prefixes(balancer: Balancer, kind: HashKind = HashKind.FIVE_TUPLE) -> None:
    """Make the packets' addresses and ports part of prefixes and ranges, instead of VIPs of their own."""
    balancer.plane.write_vips([vip_entry(number, key, hash=kind) for number, key in enumerate(PREFIXES, start=1)])


@pytest.mark.parametrize("version", FRAMES)
@pytest.mark.parametrize("what", ["table", "index", "prefixes", "backends", "moving table"])
def test_no_packet_falls_between_two_states(balancer: Balancer, what: str, version: int) -> None:
    frame = FRAMES[version]
    balancer.set_up(slot(1), [backend(1), backend(2)])
    if what == "prefixes":
        write_prefixes(balancer)
    plane = balancer.plane
    changes: dict[str, list[Callable[[], None]]] = {
        "table": [lambda: balancer.write_slots(slot(2)), lambda: balancer.write_slots(slot(1))],
        "index": [balancer.write_vips, lambda: balancer.write_vips(hash_kind=HashKind.SOURCE)],
        "prefixes": [
            lambda: write_prefixes(balancer, HashKind.SOURCE),
            lambda: write_prefixes(balancer),
        ],
        "backends": [lambda: plane.write_backends([backend(1), backend(2)])],
        "moving table": [lambda: balancer.write_slots(slot(2, 1)), lambda: balancer.write_slots(slot(1))],
    }
    turns = 0
    with obj_get(plane.maps.pin_dir / "program") as program, meanwhile(*changes[what]) as done:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            result = prog_test_run(program, frame, repeat=TURNS)
            turns += TURNS
            assert result.verdict == XDP_TX
            assert result.packet in [packets.through_dr(frame, 1), packets.through_dr(frame, 2)]
    counters = plane.counters()
    assert not any(counters.reasons.values())
    assert sum(one.packets for one in counters.backends.values()) == turns
    assert len(done) > 3, "there was nothing to fall between"
