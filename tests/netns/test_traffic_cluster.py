# SPDX-License-Identifier: Apache-2.0
"""Three balancers behind routers with FRR and BIRD, by the recipe of docs/ha.md: real packets of both families.

Nothing is lost while a balancer is drained, killed or comes back, and what is lost is noticed by BFD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from cluster.world import VIPS, Gaps, World
from tests.stopwatch import Stopwatch
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, CLIENTS
from xdplb.net.lab_cluster import ClusterLab as Lab
from xdplb.net.lab_routing import Bird, Frr

KINDS: Final[dict[str, type[Bird | Frr]]] = {
    "router1": Frr,
    "router2": Bird,
    "balancer1": Frr,
    "balancer2": Bird,
    "balancer3": Bird,
}
ALL: Final = set(BALANCERS)
FLOWS: Final = 20
TRIES: Final = 3


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with pass_program() as program, Lab(port_program=program.fileno()) as lab:
        world = World(lab, KINDS)
        world.prepare_backends()
        world.start_nodes()
        world.serve_vips()
        world.start_routing()
        yield world
        world.end_nodes()


@pytest.fixture
def gaps(world: World) -> Iterator[list[Gaps]]:
    """Flows from the clients of both routers to both VIPs, while all balancers announce them."""
    world.wait_for_next_hops(ALL)
    flows = [Gaps(world.lab, client, FLOWS, list(VIPS.values())) for client in CLIENTS]
    yield flows
    for one in flows:
        one.finish()


def _lost(gaps: list[Gaps]) -> float:
    """Return for how many seconds somebody had no answer since the last time."""
    told = [one.take() for one in gaps]
    assert all(one["sent"] > 0 for one in told)
    return max(one["gaps"][0] for one in told)


def test_a_drained_balancer_has_left_the_routers_before_its_routes_go(world: World, gaps: list[Gaps]) -> None:
    node = world.nodes["balancer1"]
    _lost(gaps)
    node.cli("node", "drain", "--quiet", "5m", "--timeout", "10m")
    world.wait_for_next_hops(ALL - {"balancer1"})
    assert _written(world, "balancer1") == Counter({"metric 100": 2})
    assert _lost(gaps) == 0
    node.cli("node", "undrain")
    world.wait_for_next_hops(ALL)
    assert _lost(gaps) == 0


def test_nothing_is_lost_when_a_balancer_is_drained_and_comes_back(world: World, gaps: list[Gaps]) -> None:
    node = world.nodes["balancer2"]
    _lost(gaps)
    node.cli("node", "drain", "--wait", "--quiet", "1s", "--timeout", "60s")
    assert not _written(world, "balancer2")
    world.wait_for_next_hops(ALL - {"balancer2"})
    node.cli("node", "undrain")
    world.wait_for_next_hops(ALL)
    assert _lost(gaps) == 0


def test_a_vip_that_is_no_longer_announced_leaves_the_routers_and_comes_back(world: World, gaps: list[Gaps]) -> None:
    world.announce("balancer3", "never")
    world.wait_for_next_hops(ALL - {"balancer3"})
    world.announce("balancer3", "healthy")
    world.wait_for_next_hops(ALL)
    assert _lost(gaps) == 0


def test_nothing_is_lost_while_xdplb_or_the_routing_daemon_is_away(world: World, gaps: list[Gaps]) -> None:
    node, routing = world.nodes["balancer1"], world.routing["balancer1"]
    _lost(gaps)
    node.kill()
    routing.kill()
    world.wait_for_next_hops(ALL - {"balancer1"})
    routing.start()
    world.wait_for_next_hops(ALL)
    assert _lost(gaps) == 0, "routes and program are there without the daemon"
    node.start()
    node.wait_until_ready()
    assert _lost(gaps) == 0


def test_what_a_lost_balancer_swallows_goes_elsewhere_within_a_second(world: World, gaps: list[Gaps]) -> None:
    """The best of three: BFD that waits for a CPU is late for reasons of the machine."""
    took: list[float] = []
    while len(took) < TRIES and not (took and took[-1] < 1):
        _lost(gaps)
        watch = Stopwatch()
        world.cut("balancer2")
        world.wait_for_next_hops(ALL - {"balancer2"})
        lost = _lost(gaps)
        assert lost > 0.1, "it did swallow something"
        took.append(lost - watch.hindered)
        world.lab.join("balancer2")
        world.wait_for_next_hops(ALL)
    assert min(took) < 1


def _written(world: World, host: str) -> Counter[str]:
    """Return how many routes of xdplb there are on a balancer, by their metrics where they have one that counts."""
    lines = [
        line
        for family in VIPS
        for line in world.lab.run(
            host, ["ip", f"-{family}", "route", "show", "table", str(world.table(host)), "proto", "244"]
        ).stdout.splitlines()
    ]
    return Counter("metric 100" if " metric 100" in line else "usual" for line in lines)
