# SPDX-License-Identifier: Apache-2.0
"""How long the control plane takes: to publish a table, to take a backend out, to scan the flow table for a drain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from statistics import median
from time import monotonic_ns, perf_counter, process_time

import numpy as np

from tests.bench.tables import print_table
from tests.bound import bound_backend, bound_vip, snapshot
from xdplb.balance import table
from xdplb.control.flows.drain import FlowCounts, count_flows, open_flows
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.plan import plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.dataplane import layout
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, Health, KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.next_hop import NextHop, Resolution
from xdplb.model.vip import Protocol, Vip, VipKey

__all__ = ["measure_control"]

BACKENDS = 1000
RECORDS = 1_000_000
REPEATS = 7
VIP_ID = 900
FIRST_ID = 10_000
ADDRESSES = [IPv4Address("10.2.0.0") + number for number in range(1, BACKENDS + 2)]


def measure_control(plane: BccPlane) -> None:
    """Measure and print the table. Leaves the plane with a VIP of 1000 backends and a million flow records."""
    state, up = _state(), _observed()
    refused = KnownHealth(Health.DOWN, "connection refused", datetime.now(UTC))
    one_down = replace(up, health={**up.health, FIRST_ID + 7: refused})

    def publish(observed: Observed, held: Held) -> Held:
        planned = plan(state, observed, held)
        planned.apply(plane)
        return planned.after(held)

    def first_table() -> None:
        _forget_tables()
        publish(up, Held())

    rows = [_row(f"table of {BACKENDS} backends built and published", first_table)]
    held = publish(up, Held())
    rows.append(_row("1 of them down, published", lambda: publish(one_down, held)))
    more, held_more = _state(BACKENDS + 1), held

    def one_more() -> None:
        _forget_tables()
        plan(more, up, held_more).apply(plane)

    rows.append(_row(f"1 backend added to {BACKENDS}, published", one_more))
    publish(up, Held())
    held_down = publish(one_down, held)
    rows.append(_row("the same one up again, published", lambda: publish(up, held_down)))
    publish(up, held_down)
    _fill_flows(plane)
    rows.append(
        _row(
            f"{RECORDS:,} flow records scanned and counted for a drain",
            lambda: _count(plane, state),
        )
    )
    print_table(("control plane", "ms", "CPU ms"), rows)


def _forget_tables() -> None:
    """Let every table be computed again."""
    table._base.cache_clear()
    table._places.cache_clear()
    table._pattern.cache_clear()


def _row(what: str, work: Callable[[], object]) -> tuple[str, str, str]:
    wall, cpu = [], []
    for _ in range(REPEATS):
        start, used = perf_counter(), process_time()
        work()
        wall.append(perf_counter() - start)
        cpu.append(process_time() - used)
    return what, f"{median(wall) * 1e3:.1f}", f"{median(cpu) * 1e3:.1f}"


def _state(count: int = BACKENDS) -> Snapshot:
    key = VipKey(IPv4Address("203.0.113.2"), 80, Protocol.TCP)
    backends: dict[IPAddress, BoundBackend] = {
        address: bound_backend(FIRST_ID + number, 1, Backend(address), 1)
        for number, address in enumerate(ADDRESSES[:count])
    }
    return snapshot(1, {key: bound_vip(VIP_ID, Vip(key), 1, (HealthCheck(),), backends)})


def _observed() -> Observed:
    hop = NextHop(b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01", "lo", 1, 9000, IPv4Address("10.0.0.1"))
    passed = KnownHealth(Health.UP, "", datetime.now(UTC))
    health = {FIRST_ID + number: passed for number in range(len(ADDRESSES))}
    return Observed(health, dict.fromkeys(ADDRESSES, Resolution(hop)))


def _count(plane: BccPlane, state: Snapshot) -> FlowCounts:
    flows = plane.scan_flows()
    return count_flows(flows, open_flows(flows, state), state, datetime.now(UTC), {}, counters={})


def _fill_flows(plane: BccPlane) -> None:
    number = np.arange(RECORDS)
    keys = np.zeros(RECORDS, layout.FLOW_KEY)
    keys["source"] = 0x0A640000 + (number >> 16)
    keys["source_port"] = number & 0xFFFF
    keys["destination_port"], keys["protocol"] = 80, 6
    values = np.zeros(RECORDS, layout.FLOW)
    values["vip"] = VIP_ID
    values["backend"], values["epoch"] = FIRST_ID + number % BACKENDS, 1
    values["flags"] = layout.FLOW_ESTABLISHED
    values["last_seen"] = monotonic_ns()
    flows = plane.maps.flows
    flows.delete_batch(flows.read_all()[0])
    flows.update_batch(keys, values)
