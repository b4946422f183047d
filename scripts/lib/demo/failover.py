# SPDX-License-Identifier: Apache-2.0
"""`scripts/demo failover`: a backend dies silently in the middle of many new connections, in several runs.

Its port of the switch is shut, so that it answers nothing any more, not even ARP, and no packet is refused.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdplb.net.lab import ADDRESSES, VIP, Lab

from . import preparing
from .dots import Dots, dot_chart
from .screen import Screen
from .world import World, wait_for

__all__ = ["STEPS"]

PORT = 81
RATE = 500
SECONDS = 12.0
DIES_AFTER = 4.0
READY_SECONDS = 60
QUIET_SECONDS = 3.0
RETRANSMITTED = 0.9
"""From so many seconds on, a connection took a retransmission: Linux's first timeout is 1 s."""

VICTIM = "dr1"
CHECK: Mapping[str, object] = {"type": "tcp", "interval_seconds": 1, "timeout_seconds": 1, "rise": 1, "fall": 3}

RUNS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("checks alone", {}),
    ("passive = eject", {"passive": "eject"}),
    ("syn_failover", {"syn_failover": True}),
    ("passive = eject, syn_failover", {"passive": "eject", "syn_failover": True}),
)
"""The settings of the VIP in each run, by what it is called."""


@dataclass(frozen=True, slots=True)
class Result:
    """A connection: when it began and how long it took, in seconds; None for one that failed."""

    began: float
    took: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a run; `died` is when the backend died, on the clock of the results."""

    name: str
    died: float
    results: Sequence[Result]

    @property
    def failed(self) -> int:
        """How many connections failed."""
        return sum(one.took is None for one in self.results)

    @property
    def late(self) -> int:
        """How many took a retransmission or more."""
        return sum(one.took is not None and one.took > RETRANSMITTED for one in self.results)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest connection that did not fail."""
        return max((one.took for one in self.results if one.took is not None), default=0.0)

    def percentile(self, share: float) -> float:
        """Return how long a connection took that is slower than this share of them, failed ones left out."""
        took = sorted(one.took for one in self.results if one.took is not None)
        return took[min(len(took) - 1, int(share * len(took)))]


def show_failover(world: World, screen: Screen) -> None:
    """Let a backend die in each run, show a table of them all, and draw them if that is asked."""
    for backend in world.backends:
        world.serve(backend, [sys.executable, "-m", "demo.greeting", backend.name, str(PORT)])
    seen = [_run(world, screen, name, settings) for name, settings in RUNS]
    screen.step(f"{RATE} new connections a second, and {VICTIM} dies silently after {DIES_AFTER:.0f} s")
    screen.table(
        ("", "connections", "failed", "over 0.9 s", "p99", "p99.9", "slowest"),
        [
            (
                *(one.name, len(one.results), one.failed, one.late),
                *(f"{seconds:.3f} s" for seconds in (one.percentile(0.99), one.percentile(0.999), one.slowest)),
            )
            for one in seen
        ],
    )
    best = seen[-1]
    screen.expect(
        not best.failed, "with syn_failover and passive health, no connection failed", f"{best.failed} failed"
    )
    screen.expect(best.slowest < 2, "and none took more than one retransmission", f"{best.slowest:.3f} s")
    if world.svg is not None:
        world.svg.write_text(_drawn(seen), encoding="utf-8")
        screen.say(f"drawn into {world.svg}")


def _run(world: World, screen: Screen, name: str, settings: Mapping[str, object]) -> Seen:
    screen.step(f"Run: {name}")
    vip = {"address": str(VIP), "port": PORT, "protocol": "tcp", "forward": "dr", "checks": [CHECK], **settings}
    world.rest("POST", "/v1/vips", vip)
    path = f"/v1/vips/{VIP}:{PORT}:tcp"
    for backend in world.backends:
        world.rest("POST", f"{path}/backends", {"address": backend.address, "forward": backend.forward})
    up = wait_for(lambda: _serving(world, path) == len(world.backends), READY_SECONDS)
    screen.expect(up, "all backends serve", f"{_serving(world, path)} do")
    time.sleep(QUIET_SECONDS)  # passive health learns what is usual
    command = [sys.executable, "-m", "demo.dialling", str(VIP), str(PORT), str(RATE), str(SECONDS)]
    dialling = world.spawn_in_client(command, stdout=subprocess.PIPE, text=True)
    assert dialling.stdout is not None, "it is a pipe"
    dialling.stdout.readline()
    began = time.monotonic()
    time.sleep(DIES_AFTER)
    with _dead(world.lab, VICTIM):
        died = time.monotonic() - began
        out, _ = dialling.communicate()
    results = [_result(line) for line in out.splitlines()]
    screen.say(_found_out(world, path))
    world.rest("DELETE", path)
    return Seen(name, died, results)


@contextmanager
def _dead(lab: Lab, host: str) -> Iterator[None]:
    """Let a backend answer nothing, for as long as this lasts."""
    lab.configure("switch", f"link set {host} down")
    try:
        yield
    finally:
        lab.configure("switch", f"link set {host} up")


def _serving(world: World, path: str) -> int:
    return sum(one["status"]["share"] > 0 for one in world.rest("GET", f"{path}/backends")["backends"])


def _found_out(world: World, path: str) -> str:
    shown = world.rest("GET", f"{path}/backends/{ADDRESSES[VICTIM]}")["status"]
    return f"{VICTIM} in the end: {shown['health']}, {shown['reason'] or 'serving'}"


def _result(line: str) -> Result:
    began, *rest = line.split()
    return Result(float(began), float(rest[0]) if rest else None)


def _drawn(seen: Sequence[Seen]) -> str:
    """Return a plot: how long each connection took, over when it began, a panel for each run."""
    panels = [
        Dots(
            f"{one.name}: {one.failed} failed, slowest {one.slowest:.2f} s",
            [(result.began - one.died, result.took) for result in one.results],
        )
        for one in seen
    ]
    title = f"{RATE} new connections a second; one of four backends dies silently at 0 s"
    return dot_chart(title, ("s, when it began", "s until it was answered"), panels)


def _take_down(world: World, screen: Screen) -> None:
    screen.step("Stop the daemon, and xdplb down")
    screen.expect(world.stop_daemon() == 0, "the daemon stopped")
    screen.expect(world.down().returncode == 0, "nothing of xdplb is left in the kernel")


STEPS = (preparing.prepare_backends, preparing.come_up, show_failover, _take_down)
