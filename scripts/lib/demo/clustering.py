# SPDX-License-Identifier: Apache-2.0
"""`scripts/demo cluster`: three balancers behind a router with FRR, with one desired state in etcd."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.losing import Loss, lose_in_a_drain
from cluster.node import Node
from cluster.store import Store
from cluster.world import EXAMPLES, VIPS, Gaps, World, addresses_of, in_both_vips, vip_key
from xdplb.net.lab_cluster import BALANCERS, VIP, ClusterLab
from xdplb.net.lab_routing import Bird, Frr

from .screen import Screen
from .world import wait_for

__all__ = ["STEPS", "Stage"]

ROUTING: Final[dict[str, type[Bird | Frr]]] = {
    "router1": Frr,
    "balancer1": Frr,
    "balancer2": Bird,
    "balancer3": Bird,
}
ALL: Final = set(BALANCERS)
DRAINED_NODE, PLANNED = "balancer3", "backend1"
LONG, RATE = 300, 100.0
FLOWS = 20
SETTLE_SECONDS = 2.0
EQUAL_SECONDS = 60.0
SESSIONS_SECONDS = 30.0


class Stage:
    """What the demo runs, and what it has seen: a row of the last table for each thing that happened."""

    def __init__(self, lab: ClusterLab, screen: Screen) -> None:
        self.lab = lab
        self.store = Store(lab)
        self.world = World(lab, ROUTING, with_peers=True, options=["--store", Store.url])
        self.rows: list[tuple[str, str, str, str]] = []
        self._screen = screen
        self._gaps: Gaps | None = None

    @property
    def first(self) -> Node:
        """The balancer whose API people use."""
        return self.world.nodes["balancer1"]

    def cli(self, host: str, *arguments: str) -> str:
        """Run a client command on a balancer, show it, and return what it says; 0 is expected of it."""
        self._screen.command(["xdplb", *arguments], where=host)
        return self.world.nodes[host].cli(*arguments).stdout

    def show(self, text: str) -> None:
        """Print what a command has said."""
        for line in text.splitlines():
            self._screen.say(line.rstrip())

    def watch_gaps(self) -> None:
        """From now on, see for how long clients get no answer."""
        self._gaps = Gaps(self.lab, "client1", FLOWS, list(VIPS.values()))

    def note(self, what: str, happens: Callable[[], object]) -> None:
        """Let something happen, and note what clients saw of it."""
        assert self._gaps is not None
        self._gaps.take()
        happens()
        time.sleep(SETTLE_SECONDS)
        told = self._gaps.take()
        self.rows.append((what, f"{told['gaps'][0] * 1000:.0f} ms", f"{told['sent'] - told['answered']}", ""))

    def end_gaps(self) -> None:
        """No longer watch."""
        assert self._gaps is not None
        self._gaps.finish()


def start(stage: Stage, screen: Screen) -> None:
    """Start everything but the balancers' VIPs."""
    screen.step("Three balancers, a router with FRR, four backends, etcd")
    for line in _topology():
        screen.say(line)
    stage.store.start()
    stage.world.prepare_backends()
    screen.say("balancer1 and the router run FRR, the others BIRD, with the files of docs/examples/ha")
    stage.world.start_routing()
    for host in BALANCERS:
        screen.command(["xdplb", "up", "eth0", *_shown(stage.world.node_options(host))], where=host)
    stage.world.start_nodes()
    screen.expect(
        wait_for(stage.world.sessions_are_up, SESSIONS_SECONDS),
        "all balancers are ready, and all BGP sessions are up",
    )


def announce(stage: Stage, screen: Screen) -> None:
    """Give one balancer the VIPs: all have them, and all announce them."""
    screen.step("The VIPs are written to one balancer; all three have them, and announce them")
    stage.cli("balancer1", "config", "apply", "-f", str(EXAMPLES / "vips.toml"))
    stage.world.wait_until_served()
    stage.world.wait_for_next_hops(ALL)
    screen.command(["ip", "route", "show", str(VIP)], where="router1")
    stage.show(stage.lab.run("router1", ["ip", "route", "show", str(VIP)]).stdout)
    hops = {vip: stage.world.next_hops("router1", vip) for vip in VIPS.values()}
    screen.expect(
        all(found == ALL for found in hops.values()),
        "the router sends both VIPs' connections to all three balancers",
        str(hops),
    )
    _expect_equal(stage, screen)
    stage.watch_gaps()


def drain_node(stage: Stage, screen: Screen) -> None:
    """Take a balancer out of service and back."""
    screen.step(f"{DRAINED_NODE} is drained before maintenance, and comes back")
    stage.note(
        f"{DRAINED_NODE} drained",
        lambda: stage.cli(DRAINED_NODE, "node", "drain", "--wait", "--quiet", "1s", "--timeout", "20s"),
    )
    hops = stage.world.next_hops("router1", VIP)
    screen.expect(hops == ALL - {DRAINED_NODE}, "the router sends it nothing more", f"it sends to {sorted(hops)}")

    def undrain() -> None:
        stage.cli(DRAINED_NODE, "node", "undrain")
        stage.world.wait_for_next_hops(ALL)

    stage.note(f"{DRAINED_NODE} back", undrain)
    lost = [row for row in stage.rows if row[2] != "0"]
    screen.expect(not lost, "not one datagram was lost on the way", str(lost))


def stop_daemons(stage: Stage, screen: Screen) -> None:
    """Kill what is not on the way of packets."""
    screen.step("xdplb is killed with -9 on balancer1, then its FRR: packets go on")
    node = stage.first

    def restart() -> None:
        node.kill()
        time.sleep(1)
        node.start()
        node.wait_until_ready()

    stage.note("xdplb killed and started", restart)

    def restart_routing() -> None:
        routing = stage.world.routing["balancer1"]
        routing.kill()
        stage.world.wait_for_next_hops(ALL - {"balancer1"})
        routing.start()
        stage.world.wait_for_next_hops(ALL)

    stage.note("its FRR killed and started", restart_routing)


def without_store(stage: Stage, screen: Screen) -> None:
    """Take etcd away and bring it back."""
    screen.step("etcd is away, and comes back")
    stage.note("etcd killed", stage.store.kill)
    refused = stage.first.cli("vip", "set", vip_key(VIP), "--idle-timeout", "5m", check=False)
    screen.command(["xdplb", "vip", "set", vip_key(VIP), "--idle-timeout", "5m"], where="balancer1")
    stage.show(refused.stderr)
    screen.expect(refused.returncode != 0, "a change of the VIP is refused, with the reason", refused.stdout)
    address = str(addresses_of(PLANNED)[4])
    stage.cli("balancer1", "backend", "drain", vip_key(VIP), address)
    state = stage.first.ask("backend", "show", vip_key(VIP), address)["admin_state"]
    screen.expect(state == "drain", "a drain works on the balancer that is asked, and is written later", state)
    stage.note("etcd back", stage.store.start)
    others = [stage.world.nodes[host] for host in BALANCERS[1:]]

    def drained() -> bool:
        return all(one.ask("backend", "show", vip_key(VIP), address)["admin_state"] == "drain" for one in others)

    screen.expect(wait_for(drained, EQUAL_SECONDS), "it is written now, and the other balancers drain as well")
    stage.cli("balancer2", "backend", "undrain", vip_key(VIP), address)
    _expect_equal(stage, screen)
    stage.end_gaps()


def lose_node(stage: Stage, screen: Screen) -> None:
    """Lose a balancer in the middle of a backend's drain, under load."""
    screen.step(f"{PLANNED} is drained, and balancer2 dies in the middle of it: kill -9, and its NIC is down")
    screen.say(f"{LONG} long connections, {RATE:.0f} new ones a second")
    loss = lose_in_a_drain(stage.world, long=LONG, rate=RATE, drain=_drain, undrain=_undrain)
    screen.expect(
        not loss.broken, f"{loss.made} connections of living backends: none broke", f"{loss.broken} did: {loss.by}"
    )
    stage.rows.append(("balancer2 lost in a drain, and back", *_of(loss)))
    _expect_equal(stage, screen)


def conclude(stage: Stage, screen: Screen) -> None:
    """Show what clients saw."""
    screen.step("What clients saw of it")
    screen.table(("WHAT HAPPENED", "LONGEST GAP", "DATAGRAMS LOST", "CONNECTIONS BROKEN"), stage.rows)


def _of(loss: Loss) -> tuple[str, str, str]:
    return (f"{loss.slowest_seconds * 1000:.0f} ms (TCP)", "-", f"{loss.broken} of {loss.made}")


def _drain(world: World, backend: str) -> None:
    """Ask one balancer; the others have it from the store."""
    in_both_vips(world.nodes["balancer1"], "drain", backend)


def _undrain(world: World, backend: str) -> None:
    in_both_vips(world.nodes["balancer1"], "undrain", backend)


def _expect_equal(stage: Stage, screen: Screen) -> None:
    """Expect that the desired states of all balancers are equal, bit for bit."""
    digests: dict[str, Any] = {}

    def equal() -> bool:
        with stage.first.client() as client:
            digests.update({node["name"]: node["digest"] for node in client.nodes.list().json()["nodes"]})
        return set(digests) == ALL and None not in digests.values() and len(set(digests.values())) == 1

    are_equal = wait_for(equal, EQUAL_SECONDS)
    stage.show(stage.cli("balancer1", "node", "ls"))
    screen.expect(are_equal, "all balancers have the same desired state, bit for bit", str(digests))


def _shown(options: Sequence[str]) -> list[str]:
    """Return the options that matter here: without the files of keys and certificates, and the API of the peers."""
    pairs = zip(options[::2], options[1::2], strict=True)
    told = {"--node", "--store", "--peer-listen", "--peer", "--announce-table"}
    return [word for name, value in pairs if name in told for word in (name, value)]


def _topology() -> tuple[str, ...]:
    return (
        "client1 ── router1 ──┬── balancer1, 2, 3   10.0.0.11 to .13",
        "                     ├── backend1 to 4     10.0.0.21 to .24",
        "                     └── shared (etcd)     10.0.0.31",
    )


STEPS = (start, announce, drain_node, stop_daemons, without_store, lose_node, conclude)
