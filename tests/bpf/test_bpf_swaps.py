"""Packets while tables, index and backends are swapped: each sees the old or the new, none sees nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot
from xdplb.dataplane.libbpf import XDP_TX, obj_get, prog_test_run

pytestmark = pytest.mark.root

SECONDS = 1.0
TURNS = 2000  # of the program in one test run: DR makes of its own result the same once more
FRAME = packets.tcp("PA")
BOTH = [packets.through_dr(FRAME, 1), packets.through_dr(FRAME, 2)]


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


@pytest.mark.parametrize("what", ["table", "index", "backends", "moving table"])
def test_no_packet_falls_between_two_states(balancer: Balancer, what: str) -> None:
    balancer.set_up(slot(1), [backend(1), backend(2)])
    plane = balancer.plane
    changes: dict[str, list[Callable[[], None]]] = {
        "table": [lambda: balancer.write_slots(slot(2)), lambda: balancer.write_slots(slot(1))],
        "index": [balancer.write_vips, lambda: balancer.write_vips(hash_source=True)],
        "backends": [lambda: plane.write_backends([backend(1), backend(2)])],
        "moving table": [lambda: balancer.write_slots(slot(2, 1)), lambda: balancer.write_slots(slot(1))],
    }
    turns = 0
    with obj_get(plane.maps.pin_dir / "program") as program, meanwhile(*changes[what]) as done:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            result = prog_test_run(program, FRAME, repeat=TURNS)
            turns += TURNS
            assert result.verdict == XDP_TX
            assert result.packet in BOTH
    counters = plane.counters()
    assert not any(counters.reasons.values())
    assert sum(one.packets for one in counters.backends.values()) == turns
    assert len(done) > 3, "there was nothing to fall between"
