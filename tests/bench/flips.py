# SPDX-License-Identifier: Apache-2.0
"""From a flip to the kernel's maps, with 1000 backends: with no policy, with all policies, and where they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from time import perf_counter, process_time
from typing import Any

from tests.bench.tables import print_table
from tests.bound import bound_backend, bound_vip, snapshot
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.plan import plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, BackendRole, Health, KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.min_serving import MinServing
from xdplb.model.next_hop import NextHop, Resolution
from xdplb.model.vip import AllUnhealthy, Vip, VipKey

__all__ = ["measure_flips"]

PRIMARIES, BACKUPS = 1000, 20
VIP_ID, FIRST_ID = 901, 12_000
KEY = VipKey.parse("203.0.113.3:80/tcp")
FLIPS = 200
ALL: Mapping[str, Any] = {
    "all_unhealthy": AllUnhealthy.LAST_GOOD,
    "min_serving": MinServing(0, 10),
    "panic_share": 0.5,
    "slow_start_seconds": 30,
}


@dataclass
class Flipping:
    """A VIP in the maps whose backends flip."""

    plane: BccPlane
    settings: Mapping[str, Any]
    down: set[int] = field(default_factory=set)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        addresses = [IPv4Address("10.3.0.0") + number for number in range(1, PRIMARIES + BACKUPS + 1)]
        backends: dict[IPAddress, BoundBackend] = {}
        for number, address in enumerate(addresses):
            role = BackendRole.PRIMARY if number < PRIMARIES else BackendRole.BACKUP
            backends[address] = bound_backend(FIRST_ID + number, 1, Backend(address, role=role), 1)
        self._state = snapshot(1, {KEY: bound_vip(VIP_ID, Vip(KEY, **self.settings), 1, (HealthCheck(),), backends)})
        hop = Resolution(NextHop(b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01", "lo", 1, 9000, IPv4Address("10.0.0.1")))
        long_ago = self.now - timedelta(days=1)
        self._known = {FIRST_ID + n: self._health(n, long_ago) for n in range(len(addresses))}
        self._observed = Observed(self._known, dict.fromkeys(backends, hop), now=self.now)
        planned = plan(self._state, self._observed, Held())
        planned.apply(self.plane)
        self._held = planned.after(Held())

    def flip(self, number: int, seconds: float) -> tuple[float, float]:
        """Let a backend flip after some seconds; return how long it took until the maps had it, and the CPU time."""
        self.now += timedelta(seconds=seconds)
        self.down ^= {number}
        began, used = perf_counter(), process_time()
        self._known[FIRST_ID + number] = self._health(number, self.now)
        observed = replace(self._observed, health=dict(self._known), now=self.now)
        planned = plan(self._state, observed, self._held, {VIP_ID}, {VIP_ID: {FIRST_ID + number}})
        planned.apply(self.plane)
        self._held = planned.after(self._held)
        return perf_counter() - began, process_time() - used

    def _health(self, number: int, since: datetime) -> KnownHealth:
        if number in self.down:
            return KnownHealth(Health.DOWN, "connection refused", since, was_up=True)
        return KnownHealth(Health.UP, "", since)


def measure_flips(plane: BccPlane) -> None:
    """Measure and print the table."""
    half = set(range(PRIMARIES // 2))
    cases: dict[str, tuple[Mapping[str, Any], set[int], Callable[[int], tuple[int, float]]]] = {
        "one flips, no policy": ({}, set(), lambda turn: (turn * 37 % 500 // 2, 1.0)),
        "one flips, all policies on": (ALL, set(), lambda turn: (turn * 37 % 500 // 2, 1.0)),
        "panic begins and ends, 500 of them down": (ALL, half, lambda _: (PRIMARIES - 1, 60.0)),
        "backups begin and end, 500 of them down": (
            {**ALL, "min_serving": MinServing(0, 50)}, half, lambda _: (PRIMARIES - 1, 60.0)
        ),
        "500 come up one by one and ramp up together": ({**ALL, "panic_share": 0.0}, half, lambda turn: (turn, 0.1)),
    }  # fmt: skip
    rows = [_row(name, plane, *case) for name, case in cases.items()]
    print_table(("from a flip to the maps, 1000 backends", "p50 ms", "p99 ms", "CPU p50", "CPU p99"), rows)


def _row(
    name: str,
    plane: BccPlane,
    settings: Mapping[str, Any],
    down: set[int],
    turn: Callable[[int], tuple[int, float]],
) -> tuple[str, ...]:
    found = list(_flips(Flipping(plane, settings, set(down)), turn))
    return name, *(f"{part * 1e3:.1f}" for times in zip(*found, strict=True) for part in _quantiles(times))


def _quantiles(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


def _flips(flipping: Flipping, turn: Callable[[int], tuple[int, float]]) -> Iterator[tuple[float, float]]:
    for number in range(FLIPS):
        yield flipping.flip(*turn(number))
