# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench ha`: for how long clients see nothing when a balancer is drained, stopped, killed or lost, with BGP.

Three balancers behind a router with FRR and one with BIRD, with the configurations of docs/examples/ha. Each row is the
longest time without an answer of any of the flows of the clients of both routers, over all rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cluster.world import VIPS, Gaps, World
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, CLIENTS, ClusterLab
from xdplb.net.lab_routing import Bird, Frr

FLOWS = 15
SETTLE_SECONDS = 0.5
LOST_SECONDS = 2.0
ALL = set(BALANCERS)
ROUTING: dict[str, type[Bird | Frr]] = {"router1": Frr, "router2": Bird, "balancer1": Frr, "balancer2": Bird}
ROUTING["balancer3"] = Bird

Step = Callable[[World, str], None]


def _drain(world: World, host: str) -> None:
    world.nodes[host].cli("node", "drain")
    world.wait_for_next_hops(ALL - {host})


def _undrain(world: World, host: str) -> None:
    world.nodes[host].cli("node", "undrain")
    world.wait_for_next_hops(ALL)


def _withdraw(world: World, host: str) -> None:
    world.announce(host, "never")
    world.wait_for_next_hops(ALL - {host})


def _announce(world: World, host: str) -> None:
    world.announce(host, "healthy")
    world.wait_for_next_hops(ALL)


def _cut(world: World, host: str) -> None:
    world.cut(host)
    world.wait_for_next_hops(ALL - {host})


def _join(world: World, host: str) -> None:
    world.lab.join(host)
    world.wait_for_next_hops(ALL)


def _stop_routing(world: World, host: str) -> None:
    world.routing[host].stop()
    world.wait_for_next_hops(ALL - {host})


def _kill_routing(world: World, host: str) -> None:
    world.routing[host].kill()
    world.wait_for_next_hops(ALL - {host})


def _start_routing(world: World, host: str) -> None:
    world.routing[host].start()
    world.wait_for_next_hops(ALL)


def _kill_daemon(world: World, host: str) -> None:
    world.nodes[host].kill()
    time.sleep(LOST_SECONDS)


def _start_daemon(world: World, host: str) -> None:
    world.nodes[host].start()
    world.nodes[host].wait_until_ready()


STEPS: Sequence[tuple[str, Step]] = (
    ("drained: xdplb node drain", _drain),
    ("  and undrained", _undrain),
    ("route withdrawn", _withdraw),
    ("  and back", _announce),
    ("lost: its cable is pulled (BFD)", _cut),
    ("  and back", _join),
    ("routing daemon stopped", _stop_routing),
    ("  and started", _start_routing),
    ("routing daemon killed -9 (BFD)", _kill_routing),
    ("  and started", _start_routing),
    ("xdplb killed -9", _kill_daemon),
    ("  and started", _start_daemon),
)


def run(rounds: int) -> None:
    """Print the table."""
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        world = World(lab, ROUTING)
        world.prepare_backends()
        world.start_nodes()
        world.serve_vips()
        world.start_routing()
        world.wait_for_next_hops(ALL)
        gaps = {client: Gaps(lab, client, FLOWS, list(VIPS.values())) for client in CLIENTS}
        print("longest time without an answer, in ms          FRR router          BIRD router")
        print("                                         FRR      BIRD      FRR       BIRD  balancer")
        for name, figures in _measure(world, gaps, rounds):
            print(f"{name:36} " + " ".join(f"{figure:9.0f}" for figure in figures), flush=True)


def _measure(world: World, gaps: dict[str, Gaps], rounds: int) -> list[tuple[str, list[float]]]:
    worst = [[0.0] * 4 for _ in STEPS]
    for _ in range(rounds):
        for column, host in enumerate(("balancer1", "balancer2")):
            for row, (_, step) in enumerate(STEPS):
                for one in gaps.values():
                    one.take()
                step(world, host)
                time.sleep(SETTLE_SECONDS)
                for place, one in enumerate(gaps.values()):
                    found = one.take()["gaps"][0] * 1000
                    worst[row][2 * place + column] = max(worst[row][2 * place + column], found)
    return [(name, worst[row]) for row, (name, _) in enumerate(STEPS)]
