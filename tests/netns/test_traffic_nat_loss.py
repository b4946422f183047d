# SPDX-License-Identifier: Apache-2.0
"""Several balancers with NAT: requests and replies are spread over them, and one of them is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node import Node
from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.net import ethtool
from xdplb.net.lab_cluster import ADDRESSES, ADDRESSES6, VIP, VIP6, ClusterLab
from xdplb.net.lab_hosts import forward_packets

LOST, LEFT = "balancer1", "balancer2"
PORT, CONNECTIONS = 80, 500
PORTS = {"backend1": 8080, "backend2": 8081}
SCRIPTS = Path(__file__).parents[2] / "scripts/lib/cluster"
BY_PORTS_TOO = ("net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1")
CONFIG = "[[vips]]\naddress = '{vip}'\nport = 80\nprotocol = 'tcp'\nforward = 'nat'\nbackends = [{backends}]\n"


def route(lab: ClusterLab, *balancers: str) -> None:
    """Send requests and replies through these balancers: spread over them by the ports as well, as ECMP does."""
    ways = [
        *((host, "198.51.100.0/24", ADDRESSES) for host in PORTS),
        *((host, "2001:db8:c0::/64", ADDRESSES6) for host in PORTS),
        ("router1", str(VIP), ADDRESSES),
        ("router1", str(VIP6), ADDRESSES6),
    ]
    for host, prefix, addresses in ways:
        hops = [word for each in balancers for word in ("nexthop", "via", str(addresses[each]))]  # type: ignore[index]
        lab.run(host, ["ip", "route", "replace", prefix, *hops])


def serve(lab: ClusterLab) -> None:
    """Run the backends' services, on ports of their own. The VIP is on none of them."""
    for host, port in PORTS.items():
        lab.inside(host, lambda: ethtool.finish_checksums("eth0"))
        lab.popen(host, [sys.executable, str(SCRIPTS / "service.py"), host, str(port)])
        until(lambda host=host, port=port: f":{port} " in lab.run(host, ["ss", "-Htln"]).stdout)  # type: ignore[misc]
    for host in ("router1", *PORTS):
        lab.run(host, ["sysctl", "-qw", *BY_PORTS_TOO])


def carried(node: Node) -> tuple[int, int]:
    """Return how many packets a balancer has sent to backends, and how many replies to clients."""
    told = node.ask("stats")
    replies = sum(vip["replies"] for vip in told["vips"]) + told["passes"].get("nat_reply", 0)
    return sum(vip["packets"] for vip in told["vips"]), replies


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    """Two balancers with the same configuration, that tell each other nothing."""
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        serve(lab)
        route(lab, LOST, LEFT)
        config = lab.folder / "config.toml"
        vips = []
        for vip, addresses in ((VIP, ADDRESSES), (VIP6, ADDRESSES6)):
            backends = (f"{{ address = '{addresses[host]}', port = {port} }}" for host, port in PORTS.items())
            vips.append(CONFIG.format(vip=vip, backends=", ".join(backends)))
        config.write_text("\n".join(vips))
        made = {host: Node(lab, host, "--config", str(config)) for host in (LOST, LEFT)}
        for host, node in made.items():
            lab.inside(host, forward_packets)
            node.start()
        for node in made.values():
            node.wait_until_ready()
        yield made


def test_a_balancer_is_lost_and_no_connection_breaks(nodes: dict[str, Node]) -> None:
    """The other one has seen of most connections the requests or the replies alone, or nothing, and has no record."""
    lost, left = nodes[LOST], nodes[LEFT]
    lab = left.lab
    assert isinstance(lab, ClusterLab)
    command = [sys.executable, str(SCRIPTS / "load.py"), str(PORT), str(CONNECTIONS), "0", "1", str(VIP), str(VIP6)]
    load = lab.popen("client1", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None
    assert load.stdout.readline() == "up\n"
    for node in (lost, left):
        until(lambda node=node: min(carried(node)) > CONNECTIONS)  # type: ignore[misc]
    lab.cut(LOST)
    lost.kill()
    route(lab, LEFT)
    before = carried(left)
    until(lambda: min(carried(left)) > max(before) + 3 * CONNECTIONS)
    told = json.loads(load.communicate(timeout=120)[0])
    assert (told["made"], told["broken"]) == (CONNECTIONS, [])
    assert set(told["backends"]) == set(PORTS)
    assert sum(vip["records"] for vip in left.ask("stats")["vips"]) == 0
