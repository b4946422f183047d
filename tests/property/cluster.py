# SPDX-License-Identifier: Apache-2.0
"""Several balancers with the same backends, whose clients' packets may come to any of them at any time.

Each has a control plane and a packet path of its own, with ids of its own; what they tell each other arrives as it
would by the network. All that a connection's packets may not do is to reach another backend than its first one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from itertools import count
from typing import cast

import numpy as np

from tests.bound import bound_backend, bound_vip, snapshot
from tests.fakes import new_drifts, next_hop
from tests.property.packets import Flow, PacketPath
from xdplb.control.events import Events
from xdplb.control.flows.drain import open_flows
from xdplb.control.flows.settle import PEERS_LATE_SECONDS, Scan
from xdplb.control.flows.telling import of_shared, records_to_tell
from xdplb.control.plan.eligibility import Observed, Use, assess
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.control.writing.applier import Applier
from xdplb.dataplane import layout
from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import DataPlane
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.next_hop import Resolution
from xdplb.model.shared_record import SharedRecords
from xdplb.model.vip import Forward, Vip, VipKey
from xdplb.reference.flow_state import SharedFlow

IDLE_SECONDS = 90
LOOK_SECONDS = 15
SILENT_SECONDS = 2 / 3 * IDLE_SECONDS
"""For how long a client is silent at most: of longer silence, the loss of a balancer takes the knowledge."""
KEY = VipKey.parse("203.0.113.10:80/tcp")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wanted:
    """What all balancers are asked for: backends by number, and which of them have failed."""

    backends: dict[int, Backend]
    failed: frozenset[int] = frozenset()


@dataclass
class Connection:
    flow: Flow
    node: int
    backend: IPAddress
    last_spoke: float


class Node:
    """One balancer. Its ids of backends are other than those of the others."""

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.path = PacketPath(KEY)
        self.path.now = now
        self.path.features = frozenset({Feature.SYNC})
        self.applier = Applier(cast("DataPlane", self.path), lambda: self.path.now, Events(), new_drifts())
        self.applier.peers_late_seconds = PEERS_LATE_SECONDS
        self.wanted = Wanted({})
        self.failed_here: frozenset[int] = frozenset()
        """Backends whose checks fail at this balancer alone."""
        self.unchecked: frozenset[int] = frozenset()
        """Those whose first check is not over."""
        self._were_up: frozenset[int] = frozenset()
        self.told = 0

    def id_of(self, number: int) -> int:
        return 1 + (number * 5 + self.number * 11) % 60

    def vip(self) -> BoundVip:
        made = Vip(KEY, idle_timeout_seconds=IDLE_SECONDS, forward=Forward.IPIP)
        bound = [bound_backend(self.id_of(number), 0, each, 1) for number, each in self.wanted.backends.items()]
        return bound_vip(0, made, 1, backends={one.backend.address: one for one in bound})

    def state(self) -> Snapshot:
        vip = self.vip()
        return snapshot(1, {KEY: vip}, {one.id: 0 for one in vip.backends.values()})

    def observed(self) -> Observed:
        failed = self.wanted.failed | self.failed_here
        checked = self.wanted.backends.keys() - self.unchecked
        self._were_up |= checked - failed
        health = {
            self.id_of(number): KnownHealth(Health.DOWN, "", LONG_AGO, number in self._were_up)
            if number in failed
            else KnownHealth(Health.UP, "", LONG_AGO)
            for number in checked
        }
        hops = {each.address: Resolution(next_hop(each.address)) for each in self.wanted.backends.values()}
        return Observed(health, hops, has_peers=self.applier.peers_late_seconds > 0)

    def bring(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.applier.bring(self.state(), self.observed())

    def address_of(self, heard: tuple[int, int] | None) -> IPAddress | None:
        return None if heard is None else self.path.entries[heard[0]].address

    def out(self) -> set[IPAddress]:
        vip = self.vip()
        standing = assess(vip, self.observed())
        return {one.backend.address for one in vip.backends.values() if standing[one.id].use is Use.OUT}

    def news(self) -> SharedRecords:
        """Return what the packet path has handed out since the last time, as peers are told."""
        new, self.told = self.path.state.shared[self.told :], len(self.path.state.shared)
        return of_shared(np.array([_shared(each) for each in new], layout.SHARED_FLOW), self.applier.known.backends)

    def present(self, *, since: float | None = None) -> SharedRecords:
        """Return what a peer that starts is told of, or what peers are told again."""
        flows, known = self.path.scan_flows(), self.applier.known
        live = open_flows(flows, self.state(), has_peers=True)
        if since is not None:
            live &= (flows.flags & layout.FLOW_FROM_PEER == 0) & (flows.age <= since + 1)
        return records_to_tell(flows, live, known.vips, known.tables, known.backends)

    def settle(self) -> None:
        tables, told = self.applier.tables, self.applier.times_told
        flows = self.path.scan_flows()
        self.applier.settle(Scan(tables, flows, open_flows(flows, self.state(), has_peers=True), told))


class Cluster:
    """`syncs`: balancers tell each other of connections."""

    def __init__(self, size: int, *, syncs: bool = True) -> None:
        self.syncs, self.now = syncs, 1000.0
        self.nodes: dict[int, Node] = {number: Node(number, self.now) for number in range(size)}
        self.wanted = Wanted({})
        self.connections: list[Connection] = []
        self.broken: list[str] = []
        self._ports = count(20000)
        self._refreshed_at = self.now

    # --- what operators do

    def change(
        self, backends: dict[int, Backend], failed: frozenset[int] | None = None, *, late: int | None = None
    ) -> None:
        """Change what is wanted; one of the balancers may hear of it only when `catch_up` is called."""
        self.catch_up()
        self.wanted = Wanted(backends, self.wanted.failed if failed is None else failed)
        for number, node in self.nodes.items():
            if number != late:
                node.bring(self.wanted)
        self._forget_lost()
        self.sync()

    def catch_up(self) -> None:
        for node in self.nodes.values():
            if node.wanted is not self.wanted:
                node.bring(self.wanted)
        self._forget_lost()
        self.sync()

    def lose(self, number: int) -> None:
        """Let a balancer be gone with all it knew; its packets go to others."""
        if len(self.nodes) > 1 and number in self.nodes:
            del self.nodes[number]
            rest = sorted(self.nodes)
            for place, connection in enumerate(self.connections):
                if connection.node == number:
                    connection.node = rest[place % len(rest)]

    def start(self, number: int, chance: random.Random) -> None:
        """Let a balancer start that knows nothing, and take over what the others know before it serves.

        If no backend has failed, packets come to it as soon as the first one has passed its check.
        """
        if number in self.nodes:
            return
        node = Node(number, self.now)
        node.unchecked = frozenset() if self.wanted.failed else frozenset(self.wanted.backends)
        node.bring(self.wanted)
        if self.syncs:
            for other in self.nodes.values():
                for slots in other.applier.moving():
                    node.applier.take_over(slots)
                node.applier.take(other.present())
        self.nodes[number] = node
        for checked in chance.sample(sorted(node.unchecked), len(node.unchecked)):
            node.unchecked -= {checked}
            node.bring(self.wanted)
            for _ in range(3 if any(table.has_owner for table in node.applier.tables.values()) else 0):
                self.open(number)
                self.reroute(chance.randrange(1000), number)

    def flap(self, number: int, backend: int, chance: random.Random) -> None:
        """Let a living backend fail for a while at one balancer, to which none of its packets come meanwhile."""
        node = self._node(number)
        others = [each for each in self.nodes if each != node.number]
        if backend not in self.wanted.backends or backend in self.wanted.failed or not others:
            return
        node.failed_here = frozenset({backend})
        address = self.wanted.backends[backend].address
        for connection in self.connections:
            if connection.backend == address and connection.node == node.number:
                connection.node = chance.choice(others)
        node.bring(self.wanted)
        for _ in range(5):
            self.open(node.number)
        self.wait(chance.choice([0.1, 5, 25]))
        node.failed_here = frozenset()
        node.bring(self.wanted)

    # --- what clients and routers do

    def open(self, node: int) -> None:
        at = self._node(node)
        flow = Flow("198.51.100.7", next(self._ports))
        address = at.address_of(at.path.syn(flow))
        if address is None or address in at.out():
            return
        connection = Connection(flow, at.number, address, self.now)
        at.path.ack(flow)
        self.connections.append(connection)
        self.sync()

    def close(self, place: int) -> None:
        if self.connections:
            connection = self.connections.pop(place % len(self.connections))
            self.nodes[connection.node].path.fin(connection.flow)
            self.sync()

    def reroute(self, place: int, node: int) -> None:
        if self.connections:
            connection = self.connections[place % len(self.connections)]
            connection.node = self._node(node).number
            self._speak(connection)
            self.sync()

    def reroute_all(self, shift: int) -> None:
        """Let each connection come to another balancer."""
        numbers = sorted(self.nodes)
        for place, connection in enumerate(self.connections):
            connection.node = numbers[(place + shift) % len(numbers)]
            self._speak(connection)
        self.sync()

    def wait(self, seconds: float) -> None:
        """Let time pass: nobody is silent for longer than SILENT_SECONDS, and balancers look at their tables."""
        while seconds > 0:
            self._wait(min(seconds, LOOK_SECONDS))
            seconds -= LOOK_SECONDS

    def _wait(self, seconds: float) -> None:
        for connection in self.connections:
            if self.now + seconds - connection.last_spoke > SILENT_SECONDS:
                self._speak(connection)
        self.sync()
        self.now += seconds
        for node in self.nodes.values():
            node.path.now = self.now
        if self.now - self._refreshed_at > IDLE_SECONDS / 3 - LOOK_SECONDS:  # else it is too late the next time
            since, self._refreshed_at = self.now - self._refreshed_at, self.now
            for node in self.nodes.values():
                self._tell(node, node.present(since=since))
        for node in self.nodes.values():
            node.settle()

    def sync(self) -> None:
        for node in self.nodes.values():
            self._tell(node, node.news())

    # --- how

    def _tell(self, node: Node, records: SharedRecords) -> None:
        if not self.syncs or not len(records):
            return
        for other in self.nodes.values():
            if other is not node:
                arrived = other.applier.take(records)
                assert not len(arrived.unplaced) or other.wanted is not self.wanted

    def _node(self, number: int) -> Node:
        numbers = sorted(self.nodes)
        return self.nodes[numbers[number % len(numbers)]]

    def _speak(self, connection: Connection) -> None:
        node = self.nodes[connection.node]
        heard = node.address_of(node.path.ack(connection.flow))
        if heard != connection.backend:
            self.broken.append(f"{connection.flow} of {connection.backend} went to {heard} at {connection.node}")
            self.connections = [each for each in self.connections if each is not connection]
        connection.last_spoke = self.now

    def _forget_lost(self) -> None:
        """Forget the connections of backends that get no packets any more, by any balancer."""
        out = {address for node in self.nodes.values() for address in node.out()}
        there = {each.address for each in self.wanted.backends.values()}
        self.connections = [each for each in self.connections if each.backend in there - out]


def backend_of(number: int, weight: int = 1, state: AdminState = AdminState.READY) -> Backend:
    return Backend(IPv4Address("10.0.0.10") + number, weight, admin_state=state)


def _shared(flow: SharedFlow) -> tuple[object, ...]:
    key = flow.key
    ends = [(int(address) << 32, 0) for address in (key.source, key.destination)]
    return (
        *(*ends, key.source_port, key.destination_port, flow.vip, flow.backend, flow.epoch, flow.flags),
        *(key.protocol, 4, (0, 0, 0)),
    )
