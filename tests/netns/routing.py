"""A cluster's routers and balancers with the configurations of docs/examples/ha, and what the routers have learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

from xdplb.model.address import IPAddress
from xdplb.net.lab_cluster import ADDRESSES, ADDRESSES6, BALANCERS, ROUTERS, ClusterLab
from xdplb.net.lab_routing import Bird, Frr, RoutingDaemon

from .balancer import until

EXAMPLES: Final = Path(__file__).parents[2] / "docs/examples/ha"
ROUTING: Final[dict[str, Callable[[ClusterLab, str, Path], Bird | Frr]]] = {
    "router1": Frr,
    "router2": Bird,
    "balancer1": Frr,
    "balancer2": Bird,
    "balancer3": Bird,
}
"""What runs on each host; a balancer with FRR has its routes in the main table."""

TABLES: Final = {host: 254 if kind is Frr else 210 for host, kind in ROUTING.items() if host in BALANCERS}
SESSIONS_SECONDS: Final = 30


def daemon(lab: ClusterLab, host: str) -> RoutingDaemon:
    """Return a host's routing daemon, not yet started."""
    name = "frr" if ROUTING[host] is Frr else "bird"
    role = "router" if host in ROUTERS else "balancer"
    return ROUTING[host](lab, host, EXAMPLES / f"{name}-{role}.conf")


@contextmanager
def routed(lab: ClusterLab) -> Iterator[dict[str, RoutingDaemon]]:
    """Run all routing daemons of the lab, and set its routers up as the recipe says; all sessions are up."""
    for router in ROUTERS:
        lab.run(router, ["sysctl", "-p", str(EXAMPLES / "router-sysctl.conf")])
    daemons = {host: daemon(lab, host) for host in ROUTING}
    for one in daemons.values():
        one.start()
    until(lambda: all(up(one) for one in daemons.values()), SESSIONS_SECONDS)
    yield daemons
    for one in daemons.values():
        one.stop()


def up(one: RoutingDaemon) -> bool:
    """Whether all sessions of a routing daemon are up."""
    sessions = one.sessions()
    return len(sessions) > 3 and all(sessions.values())


def next_hops(lab: ClusterLab, router: str, vip: IPAddress) -> set[str]:
    """Return the balancers that a router sends a VIP's packets to, according to its kernel."""
    told = lab.run(router, ["ip", f"-{vip.version}", "route", "show", str(vip)]).stdout.split()
    addresses = {word for previous, word in pairwise(told) if previous == "via"}
    return {_host(lab, address) for address in addresses}


def _host(lab: ClusterLab, address: str) -> str:
    for host in BALANCERS:
        if address in (str(ADDRESSES[host]), str(ADDRESSES6[host]), link_local(lab, host)):
            return host
    raise AssertionError(f"{address} is no balancer's")


def link_local(lab: ClusterLab, host: str) -> str:
    """Return the link-local address of a host's NIC, which FRR has as the next hop of IPv6 routes."""
    return (
        lab.run(host, ["ip", "-br", "address", "show", "dev", "eth0", "scope", "link"]).stdout.split()[2].split("/")[0]
    )
