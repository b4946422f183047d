# SPDX-License-Identifier: Apache-2.0
"""A balancer is lost while a backend is drained, under load: what becomes of the connections."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .world import World, in_both_vips

__all__ = ["Loss", "drain_everywhere", "lose_in_a_drain", "undrain_everywhere"]

DRAINED = "backend1"
LOST = "balancer2"
SECONDS_OF_NEW = 3.0
"""How long a new connection stays, on average: many that began after the drain are open when the balancer is lost."""

BEFORE_SECONDS, DRAINING_SECONDS, AWAY_SECONDS, AFTER_SECONDS = 1.0, 2.0, 3.0, 3.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of the connections of one run."""

    made: int
    broken: int
    by: Counter[str]
    """Broken ones by kind, why, and what happened last before."""

    slowest_seconds: float
    """The longest that somebody waited for an answer."""

    out_seconds: float
    """How long it took until the router sent nothing more to the lost one."""


def lose_in_a_drain(
    world: World, *, long: int, rate: float, drain: Callable[[World, str], None], undrain: Callable[[World, str], None]
) -> Loss:
    """Run it once. `drain` and `undrain` do it for a backend in all VIPs; everything is as before afterwards."""
    others = set(world.balancers) - {LOST}
    load = world.load("client1", long=long, rate=rate, seconds=SECONDS_OF_NEW)
    marks = [("at the beginning", time.monotonic())]

    def mark(what: str) -> None:
        marks.append((what, time.monotonic()))

    time.sleep(BEFORE_SECONDS)
    mark("since the drain")
    drain(world, DRAINED)
    time.sleep(DRAINING_SECONDS)
    mark("since the loss")
    world.lose(LOST)
    out_seconds = world.wait_for_next_hops(others)
    time.sleep(AWAY_SECONDS)
    mark("since it is back")
    world.bring_back(LOST)
    world.wait_for_next_hops(set(world.balancers))
    time.sleep(AFTER_SECONDS)
    mark("since the undrain")
    undrain(world, DRAINED)
    time.sleep(AFTER_SECONDS)
    mark("at the end")
    told = load.finish()
    return Loss(
        made=told["made"],
        broken=len(told["broken"]),
        by=Counter(_described(one, marks) for one in told["broken"]),
        slowest_seconds=told["slowest"],
        out_seconds=out_seconds,
    )


def _described(broken: dict[str, Any], marks: list[tuple[str, float]]) -> str:
    when = [what for what, at in marks if at <= broken["at"]][-1]
    began = [what for what, at in marks if at <= broken["began"]] or ["before"]
    return f"{broken['kind']}, {broken['why']} {when}, begun {began[-1]}"


def drain_everywhere(world: World, backend: str) -> None:
    """Drain a backend in both VIPs on every balancer, each by its own API, at about the same time."""
    _everywhere(world, "drain", backend)


def undrain_everywhere(world: World, backend: str) -> None:
    """End these drains."""
    _everywhere(world, "undrain", backend)


def _everywhere(world: World, verb: str, backend: str) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: in_both_vips(node, verb, backend), world.nodes.values()))
