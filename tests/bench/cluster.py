# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench cluster`: a balancer of three is lost while a backend is drained, under load, again and again."""

from __future__ import annotations

from cluster.losing import drain_everywhere, lose_in_a_drain, undrain_everywhere
from cluster.world import World
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab
from xdplb.net.lab_routing import Bird, Frr

ROUTING: dict[str, type[Bird | Frr]] = {"router1": Frr, **dict.fromkeys(BALANCERS, Bird)}


def run(runs: int, long: int, rate: float, *, with_peers: bool) -> None:
    """Print a line for each run."""
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        world = World(lab, ROUTING, with_peers=with_peers)
        world.prepare_backends()
        world.start_nodes()
        world.serve_vips()
        world.start_routing()
        world.wait_for_next_hops(set(BALANCERS))
        print("run    made  broken  out after  longest wait")
        for number in range(1, runs + 1):
            loss = lose_in_a_drain(world, long=long, rate=rate, drain=drain_everywhere, undrain=undrain_everywhere)
            seconds = f"{loss.out_seconds:8.2f} s {loss.slowest_seconds:11.2f} s"
            print(f"{number:3} {loss.made:7} {loss.broken:7} {seconds}", flush=True)
            for what, count in loss.by.most_common():
                print(f"            {count:7}  {what}", flush=True)
