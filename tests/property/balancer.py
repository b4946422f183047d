# SPDX-License-Identifier: Apache-2.0
"""A balancer with clients: the real control plane, without its loops, over the reference packet path.

After every step of the data plane each open connection says something, and what backend hears it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from itertools import count
from typing import cast

import numpy as np

from tests.bound import bound_backend, bound_vip, snapshot, with_backend, with_vip
from tests.fakes import new_drifts, next_hop
from tests.property.packets import Flow, PacketPath
from xdplb.balance.rotation import rotation
from xdplb.balance.slots import SlotCounts, unpack
from xdplb.balance.table import WeightedBackend, build
from xdplb.control.events import Events
from xdplb.control.flows.drain import open_flows
from xdplb.control.flows.settle import Scan
from xdplb.control.plan.eligibility import Observed, Use, assess
from xdplb.control.plan.plan import plan
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.control.writing.applier import Applier
from xdplb.dataplane.plane import DataPlane
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Forward, Scheduler, Tracking, Vip, VipKey

IDLE_SECONDS = 60
KEY = VipKey.parse("203.0.113.10:80/tcp")
KEY6 = VipKey.parse("[2001:db8::10]:80/tcp")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Connection:
    flow: Flow
    backend: tuple[int, int]
    last_spoke: float
    is_recorded: bool
    """Whether it spoke while every flow was recorded."""


class Balancer:
    """Backends are numbered from 0; what happens to them are the methods a test calls in any order."""

    def __init__(self, vip: Vip, clients: int) -> None:
        self.path = PacketPath(vip.key)
        self.path.between_steps = self._everybody_speaks
        self.applier = Applier(cast("DataPlane", self.path), lambda: self.path.now, Events(), new_drifts())
        self.vip = bound_vip(0, replace(vip, idle_timeout_seconds=IDLE_SECONDS, forward=Forward.IPIP), 1)
        self.health: dict[int, KnownHealth] = {}
        self.lost_next_hops: set[IPAddress] = set()
        self.connections: dict[Flow, Connection] = {}
        self._ports = count(20000)
        self._flows = [self._new_flow() for _ in range(clients)]
        self._epochs: dict[int, int] = {}

    # --- what operators and checks do

    def add(self, number: int, weight: int) -> None:
        address = address_of(number)
        if address in self.vip.backends:
            return
        used = {bound.id for bound in self.vip.backends.values()}
        backend_id = next(candidate for candidate in range(1, 64) if candidate not in used)
        self._epochs[backend_id] = epoch = self._epochs.get(backend_id, -1) + 1
        self.health[backend_id] = KnownHealth(Health.UP, "", LONG_AGO)
        self._put(bound_backend(backend_id, epoch, Backend(address, weight), 1))

    def remove(self, number: int) -> None:
        kept = {address: r for address, r in self.vip.backends.items() if address != address_of(number)}
        self.vip = bound_vip(0, self.vip.vip, 1, backends=kept)
        self._apply()

    def replace(self, number: int, by: int) -> None:
        """Take one away and add another in the same change, under the id that becomes free."""
        old = self.vip.backends.get(address_of(number))
        if old is None or address_of(by) in self.vip.backends:
            return
        kept = {address: r for address, r in self.vip.backends.items() if r is not old}
        self._epochs[old.id] += 1
        self.vip = bound_vip(0, self.vip.vip, 1, backends=kept)
        self.health[old.id] = KnownHealth(Health.UP, "", LONG_AGO)
        self._put(bound_backend(old.id, self._epochs[old.id], Backend(address_of(by), 1), 1))

    def administer(self, number: int, state: AdminState) -> None:
        self._change(number, admin_state=state)

    def weigh(self, number: int, weight: int) -> None:
        self._change(number, weight=weight)

    def find(self, number: int, health: Health) -> None:
        """Let the checks of a backend find this."""
        if bound := self.vip.backends.get(address_of(number)):
            self.health[bound.id] = KnownHealth(health, "so says the test", LONG_AGO)
            self._apply()

    def lose_next_hop(self, number: int) -> None:
        self.lost_next_hops ^= {address_of(number)}
        self._apply()

    def track(self, tracking: Tracking) -> None:
        if tracking is Tracking.ALWAYS or not self.vip.vip.scheduler.is_per_connection:
            self.vip = with_vip(self.vip, replace(self.vip.vip, tracking=tracking))
            self._apply()

    def schedule(self, scheduler: Scheduler) -> None:
        """Choose otherwise from now on; connections that are not recorded may go elsewhere by this."""
        if scheduler.is_per_connection:
            self.track(Tracking.ALWAYS)
            for flow in [flow for flow, connection in self.connections.items() if not connection.is_recorded]:
                self._forget(flow)
        self.vip = with_vip(self.vip, replace(self.vip.vip, scheduler=scheduler))
        self._apply()

    def restart(self) -> None:
        """Kill the control plane and start another that knows only what the maps and the state say."""
        self.applier = Applier(cast("DataPlane", self.path), lambda: self.path.now, Events(), new_drifts())
        self._apply()

    # --- what time and clients do

    def wait(self, seconds: float) -> None:
        """Let time pass: nobody is silent for longer than the VIP bridges, some speak at the last moment."""
        for connection in self.connections.values():
            if self.path.now + seconds - connection.last_spoke > IDLE_SECONDS:
                self._speak(connection)
        self.path.now += seconds
        self.settle()

    def talk(self) -> None:
        """Let every client say something."""
        for connection in self.connections.values():
            self._speak(connection)

    def settle(self) -> None:
        tables = self.applier.tables
        flows = self.path.scan_flows()
        self.applier.settle(Scan(tables, flows, open_flows(flows, self._state())))

    def open(self, client: int) -> None:
        """Open a connection, also on the port of one that has ended. It goes to a backend that serves."""
        flow = self._flows[client % len(self._flows)]
        if flow in self.connections:
            return
        serving = {id_ for id_, standing in assess(self.vip, self._observed()).items() if standing.use is Use.SERVING}
        backend = self.path.syn(flow)
        if backend is None:
            assert not serving, f"a new connection was dropped, though {serving} serve"
            return
        assert backend[0] in serving, f"a new connection went to {backend}, and only {serving} serve"
        self.connections[flow] = Connection(flow, backend, self.path.now, self.vip.vip.tracks_always)

    def dial_again(self, client: int) -> None:
        """Let a client lose its connection without a word, and dial from the same port until it is heard.

        The first SYN may go to the backend of the connection that was, the second may not.
        """
        flow = self._flows[client % len(self._flows)]
        if self.connections.pop(flow, None) is None:
            return
        serving = {id_ for id_, standing in assess(self.vip, self._observed()).items() if standing.use is Use.SERVING}
        heard = self.path.syn(flow)
        if heard is None or heard[0] not in serving:
            heard = self.path.syn(flow)
        if not serving:
            self._forget_port(flow)
            return
        assert heard is not None, f"a client that dials again is dropped, though {serving} serve"
        assert heard[0] in serving, f"a client that dials again is sent to {heard}, and only {serving} serve"
        self.connections[flow] = Connection(flow, heard, self.path.now, self.vip.vip.tracks_always)

    def close(self, client: int) -> None:
        if connection := self.connections.pop(self._flows[client % len(self._flows)], None):
            assert self.path.fin(connection.flow) == connection.backend

    # --- what is so

    def counts(self) -> SlotCounts:
        return self.applier.tables[0].counts

    def owners_are_the_tables(self) -> bool:
        """Whether the owners are a function of who is configured and who is out alone."""
        eligibility = assess(self.vip, self._observed())
        backends = [WeightedBackend(str(r.backend.address), r.id, r.backend.weight) for r in self.vip.backends.values()]
        out = {backend_id for backend_id, standing in eligibility.items() if standing.use is not Use.SERVING}
        if self.vip.vip.scheduler.is_per_connection and self.vip.vip.scheduler is not Scheduler.P2C:
            wanted = rotation(backends, out, weighted=self.vip.vip.scheduler is Scheduler.WRR)
            return np.array_equal(self.path.tables[0], wanted)
        return np.array_equal(unpack(self.path.tables[0])[0], build(backends, out))

    # --- how

    def _put(self, backend: BoundBackend) -> None:
        self.vip = with_backend(self.vip, backend)
        self._apply()

    def _change(self, number: int, **changes: object) -> None:
        if old := self.vip.backends.get(address_of(number)):
            self._put(bound_backend(old.id, old.epoch, replace(old.backend, **changes), 1))  # type: ignore[arg-type]

    def _apply(self) -> None:
        """Bring the maps to the state; whoever is out at once by this need not be kept."""
        eligibility = assess(self.vip, self._observed())
        kept = {(r.id, r.epoch) for r in self.vip.backends.values() if eligibility[r.id].use is not Use.OUT}
        for flow in [flow for flow, connection in self.connections.items() if connection.backend not in kept]:
            self._forget(flow)
        self.applier.bring(self._state(), self._observed())
        again = plan(self._state(), self._observed(), self.applier.read())
        assert again.steps == (), "planning again is not empty"

    def _forget(self, flow: Flow) -> None:
        """Go on with another port: a record that lives on would make a SYN on the same one look like a retry."""
        del self.connections[flow]
        self._forget_port(flow)

    def _forget_port(self, flow: Flow) -> None:
        self._flows[self._flows.index(flow)] = self._new_flow()

    def _everybody_speaks(self) -> None:
        for connection in self.connections.values():
            if connection.flow.source_port % 2:  # the others speak at the last moment alone
                self._speak(connection)

    def _speak(self, connection: Connection) -> None:
        heard = self.path.ack(connection.flow)
        assert heard == connection.backend, f"a connection of {connection.backend} went to {heard}"
        connection.last_spoke = self.path.now
        connection.is_recorded |= self.vip.vip.tracks_always

    def _new_flow(self) -> Flow:
        client = "198.51.100.7" if self.vip.vip.key.address.version == 4 else "2001:db8:7::7"
        return Flow(client, next(self._ports))

    def _state(self) -> Snapshot:
        return snapshot(1, {self.vip.vip.key: self.vip}, self._epochs)

    def _observed(self) -> Observed:
        addresses = self.vip.backends.keys() - self.lost_next_hops
        return Observed(self.health, {address: Resolution(next_hop(address)) for address in addresses})


def address_of(number: int) -> IPv4Address:
    return IPv4Address("10.0.0.10") + number
