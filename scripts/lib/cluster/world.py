# SPDX-License-Identifier: Apache-2.0
"""The cluster as a whole: routers and balancers with the configurations of docs/examples/ha, backends, load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from xdplb.model.address import IPAddress
from xdplb.net.lab_cluster import ADDRESSES, ADDRESSES6, BACKENDS, BALANCERS, ROUTERS, VIP, VIP6, ClusterLab
from xdplb.net.lab_routing import Bird, Frr

from .node import XDPLB, Node, wait_for
from .secrets import Secrets

__all__ = [
    "EXAMPLES",
    "PORT",
    "VIPS",
    "Gaps",
    "Load",
    "World",
    "addresses_of",
    "in_both_vips",
    "next_hops",
    "routing_daemon",
    "vip_key",
]

EXAMPLES: Final = Path(__file__).parents[3] / "docs/examples/ha"
PORT: Final = 80
VIPS: Final[dict[int, IPAddress]] = {4: VIP, 6: VIP6}
SESSIONS_SECONDS: Final = 60
ROUTED_SECONDS: Final = 60
SERVED_SECONDS: Final = 120
MAIN_TABLE: Final = 254
TABLE: Final = 210

_HERE = Path(__file__).parent


class World:
    """What runs in the lab, and what a person would do with it."""

    def __init__(
        self,
        lab: ClusterLab,
        kinds: dict[str, type[Bird | Frr]],
        *,
        with_peers: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """`kinds` has the routing daemon of each router and balancer that takes part.

        `with_peers`: the balancers tell each other of connections. `options` are further ones of `xdplb up` on all.
        """
        self.lab, self.kinds, self._options = lab, kinds, list(options)
        self._secrets = Secrets(lab.folder / "secrets") if with_peers else None
        self.routers = [host for host in ROUTERS if host in kinds]
        self.balancers = [host for host in BALANCERS if host in kinds]
        self.routing: dict[str, Bird | Frr] = {}
        self.nodes: dict[str, Node] = {}

    def table(self, balancer: str) -> int:
        """Return the routing table that a balancer's routing daemon reads."""
        return MAIN_TABLE if self.kinds[balancer] is Frr else TABLE

    def start_routing(self) -> None:
        """Set the routers up as the recipe says, and start all routing daemons; all sessions are up."""
        for router in self.routers:
            self.lab.run(router, ["sysctl", "-p", str(EXAMPLES / "router-sysctl.conf")])
        self.routing = {host: routing_daemon(self.lab, host, kind) for host, kind in self.kinds.items()}
        for one in self.routing.values():
            one.start()
        wait_for(self.sessions_are_up, SESSIONS_SECONDS, "all BGP sessions are up")

    def sessions_are_up(self, *hosts: str) -> bool:
        """Whether all sessions of these hosts, or of all, with hosts that take part are up."""
        taking_part = {str(addresses[host]) for host in self.kinds for addresses in (ADDRESSES, ADDRESSES6)}
        for host in hosts or self.kinds:
            sessions = {peer: up for peer, up in self.routing[host].sessions().items() if peer in taking_part}
            peers = self.balancers if host in ROUTERS else self.routers
            if len(sessions) < 2 * len(peers) or not all(sessions.values()):
                return False
        return True

    def node(self, host: str, *options: str) -> Node:
        """Return a balancer that is not yet started."""
        self.nodes[host] = Node(self.lab, host, *options)
        return self.nodes[host]

    def node_options(self, host: str) -> list[str]:
        """Return the options of `xdplb up` that the recipe names."""
        table = self.table(host)
        options = ["--node", host, *self._options]
        options += ["--announce-table", str(table)] if table != TABLE else []
        if self._secrets is not None:
            others = [ADDRESSES[other] for other in self.balancers if other != host]
            options += self._secrets.options(host, ADDRESSES[host], others)
        return options

    def prepare_backends(self, backends: Sequence[str] = BACKENDS) -> None:
        """Set hosts up for both VIPs, and start their services."""
        for host in backends:
            places = ["--state-dir", str(self.lab.folder / host), "--pin-dir", str(self.lab.home.bpffs / host)]
            for vip in VIPS.values():
                self.lab.run(host, [XDPLB, "backend-host", "setup", str(vip), "--interface", "eth0", *places])
            command = [sys.executable, str(_HERE / "service.py"), host, str(PORT), *map(str, VIPS.values())]
            self.lab.popen(host, command)
        for host in backends:
            wait_for(lambda: self._listens(host), SERVED_SECONDS, f"the service of {host} listens")  # noqa: B023

    def end_nodes(self) -> None:
        """End all daemons. What they announce is noted outside of the lab, and this removes the notes."""
        for node in self.nodes.values():
            if node.daemon is not None:
                node.kill()
                node.withdraw()

    def start_nodes(self) -> None:
        """Start all balancers; they are ready."""
        for host in self.balancers:
            self.node(host, *self.node_options(host)).start()
        for node in self.nodes.values():
            node.wait_until_ready()

    def serve_vips(self) -> None:
        """Give each balancer the VIPs of the recipe; all backends get new connections."""
        for node in self.nodes.values():
            node.cli("config", "apply", "-f", str(EXAMPLES / "vips.toml"))
        self.wait_until_served()

    def wait_until_served(self) -> None:
        """Return when all backends get new connections of both VIPs, by each balancer."""
        for node in self.nodes.values():
            wait_for(lambda: self._serves(node), SERVED_SECONDS, f"all backends serve by {node.host}")  # noqa: B023

    def load(self, client: str, *, long: int, rate: float, seconds: float) -> Load:
        """Start connections through the VIPs."""
        return Load(self.lab, client, long, rate, seconds)

    def announce(self, balancer: str, announce: str) -> None:
        """Say on one balancer when it announces the VIPs: never, healthy or always."""
        for vip in VIPS.values():
            self.nodes[balancer].cli("vip", "set", vip_key(vip), "--announce", announce)

    def write_routes(self, balancer: str, *, metric: int | None = None) -> None:
        """Write the routes of both VIPs as the daemon does; with a metric, those of a drained balancer."""
        words = "" if metric is None else f" metric {metric}"
        place = f"table {self.table(balancer)} proto 244"
        self.lab.configure(balancer, *(f"route add blackhole {vip} {place}{words}" for vip in VIPS.values()))

    def delete_routes(self, balancer: str, *, metric: int | None = None) -> None:
        """Delete these routes."""
        usual = {4: 0, 6: 1024}
        place = f"table {self.table(balancer)} proto 244"
        lines = (f"route del blackhole {VIPS[family]} {place} metric {metric or usual[family]}" for family in VIPS)
        self.lab.configure(balancer, *lines)

    def next_hops(self, router: str, vip: IPAddress) -> set[str]:
        """Return the balancers that a router sends a VIP's packets to, according to its kernel."""
        return next_hops(self.lab, router, vip)

    def wait_for_next_hops(self, balancers: set[str], seconds: float = ROUTED_SECONDS) -> float:
        """Return how long it takes until all routers send both VIPs' packets to these balancers."""

        def now() -> dict[tuple[str, IPAddress], set[str]]:
            return {(router, vip): self.next_hops(router, vip) for router in self.routers for vip in VIPS.values()}

        what = f"the routers send packets to {sorted(balancers)}"
        try:
            return wait_for(lambda: all(hosts == balancers for hosts in now().values()), seconds, what)
        except RuntimeError as error:
            found = ", ".join(f"{router} for {vip} to {sorted(hosts)}" for (router, vip), hosts in now().items())
            down = {host: self._sessions_down(host) for host in self.routers if host in self.routing}
            raise RuntimeError(f"{error}; but {found}; sessions that are not up: {down}") from error

    def cut(self, host: str) -> None:
        """Pull a balancer's cable, once BFD watches it: until then, only the hold time of BGP would tell."""
        wait_for(lambda: self._is_watched(host), SESSIONS_SECONDS, f"the routers watch {host} by BFD")
        self.lab.cut(host)

    def lose(self, host: str) -> None:
        """Lose a balancer: its NIC is down, and its daemon is killed with -9.

        In this order, since what begins while the daemon is dead and packets still come, no peer can hear of. As with
        ExecStopPost= of its unit, it does not announce what it cannot know to be right once its NIC is back.
        """
        self.cut(host)
        self.nodes[host].kill()
        self.nodes[host].withdraw()

    def bring_back(self, host: str) -> None:
        """Bring a lost balancer back: its NIC is up, and its daemon is started."""
        self.lab.join(host)
        self.nodes[host].start()
        self.nodes[host].wait_until_ready()

    def _is_watched(self, host: str) -> bool:
        addresses = [str(address) for address in addresses_of(host).values()]
        sessions = [self.routing[router].watched() for router in self.routers]
        return all(each.get(address, False) for each in sessions for address in addresses)

    def _sessions_down(self, host: str) -> list[str]:
        return [peer for peer, is_up in self.routing[host].sessions().items() if not is_up]

    def _serves(self, node: Node) -> bool:
        return all(
            node.serves(vip_key(vip), [str(addresses_of(host)[family]) for host in BACKENDS])
            for family, vip in VIPS.items()
        )

    def _listens(self, host: str) -> bool:
        return f":{PORT} " in self.lab.run(host, ["ss", "-Htln"]).stdout


def addresses_of(host: str) -> dict[int, IPAddress]:
    """Return a host's addresses, by family."""
    return {4: ADDRESSES[host], 6: ADDRESSES6[host]}


def in_both_vips(node: Node, verb: str, backend: str) -> None:
    """Ask a balancer to `drain` or to `undrain` a backend in both VIPs."""
    with node.client() as client:
        for family, vip in VIPS.items():
            getattr(client.backends, verb)(vip_key(vip), str(addresses_of(backend)[family]))


def vip_key(vip: IPAddress) -> str:
    """Return how commands name one of the VIPs."""
    return f"[{vip}]:{PORT}/tcp+udp" if vip.version == 6 else f"{vip}:{PORT}/tcp+udp"


def routing_daemon(lab: ClusterLab, host: str, kind: type[Bird | Frr]) -> Bird | Frr:
    """Return a host's routing daemon with its configuration, not yet started."""
    name, role = ("frr" if kind is Frr else "bird"), ("router" if host in ROUTERS else "balancer")
    return kind(lab, host, EXAMPLES / f"{name}-{role}.conf")


def next_hops(lab: ClusterLab, router: str, vip: IPAddress) -> set[str]:
    """Return the balancers that a router sends a VIP's packets to, according to its kernel."""
    told = lab.run(router, ["ip", f"-{vip.version}", "route", "show", str(vip)]).stdout.split()
    return {_host(lab, word) for previous, word in pairwise(told) if previous == "via"}


def _host(lab: ClusterLab, address: str) -> str:
    for host in BALANCERS:
        if address in (str(ADDRESSES[host]), str(ADDRESSES6[host]), _link_local(lab, host)):
            return host
    raise RuntimeError(f"{address} is no balancer's")


def _link_local(lab: ClusterLab, host: str) -> str:
    """Return the link-local address of a host's NIC, which FRR has as the next hop of IPv6 routes."""
    shown = lab.run(host, ["ip", "-br", "address", "show", "dev", "eth0", "scope", "link"], check=False).stdout
    return next((word.split("/")[0] for word in shown.split() if word.startswith("fe80:")), "")


class Load:
    """Connections through the VIPs while it runs: see load.py."""

    def __init__(self, lab: ClusterLab, client: str, long: int, rate: float, seconds: float) -> None:
        numbers = [str(PORT), str(long), str(rate), str(seconds)]
        command = [sys.executable, str(_HERE / "load.py"), *numbers, *map(str, VIPS.values())]
        self._process = lab.popen(client, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "up\n":
            raise RuntimeError("the load does not come up")

    def finish(self) -> dict[str, Any]:
        """Stop, and return what became of the connections."""
        said, _ = self._process.communicate(timeout=90)
        told: dict[str, Any] = json.loads(said)
        return told


class Gaps:
    """Flows of UDP to one of the VIPs or both, for how long they had no answer: see gaps.py."""

    def __init__(self, lab: ClusterLab, client: str, flows: int, vips: Sequence[IPAddress]) -> None:
        command = [sys.executable, str(_HERE / "gaps.py"), str(PORT), str(flows), *map(str, vips)]
        self._process = lab.popen(client, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self) -> dict[str, Any]:
        """Return the gaps since the last time, and begin anew."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def finish(self) -> None:
        """Stop."""
        self._process.communicate(timeout=10)
