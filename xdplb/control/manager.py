# SPDX-License-Identifier: Apache-2.0
"""The manager: composes the parts of the control plane and gives access to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from xdplb.cluster.repository import Repository
from xdplb.control.among import Among, SharedStore
from xdplb.control.answers.answers import Answers
from xdplb.control.answers.transitions import Transitions
from xdplb.control.answers.views import PlaceView
from xdplb.control.capture.capturer import Capturer
from xdplb.control.clock import SteadyClock
from xdplb.control.edits.find import no_backend, vip_of
from xdplb.control.events import Actor, Events
from xdplb.control.explain.explainer import Explainer
from xdplb.control.health.health_source import HealthSource
from xdplb.control.health.on_demand import OnDemand, Probed
from xdplb.control.history.history import History
from xdplb.control.plan.sources import Source
from xdplb.control.state.store import Store
from xdplb.control.writing.aftermath import Aftermath
from xdplb.control.writing.announce_watch import AnnounceWatch, UsedTable
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.client_way_watch import ClientWayWatch
from xdplb.control.writing.cluster import Cluster
from xdplb.control.writing.dirty import Dirty
from xdplb.control.writing.dns_keeper import DnsKeeper
from xdplb.control.writing.dns_watch import DnsWatch
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.flow_watch import FlowWatch
from xdplb.control.writing.nic_watch import NicWatch
from xdplb.control.writing.node_watch import NodeWatch
from xdplb.control.writing.own_status import OwnStatus
from xdplb.control.writing.passive_watch import PassiveWatch
from xdplb.control.writing.path_watch import PathWatch
from xdplb.control.writing.peer_watch import PeerWatch
from xdplb.control.writing.probe_ways import ProbeWays
from xdplb.control.writing.pulses import Ask, Pulses
from xdplb.control.writing.rate_watch import RateWatch
from xdplb.control.writing.record_sync import RecordSync
from xdplb.control.writing.request import Outcome, Request
from xdplb.control.writing.store_nodes import StoreNodes
from xdplb.control.writing.store_standing import StoreState
from xdplb.control.writing.suspects import Suspects
from xdplb.control.writing.track_files import TrackFiles
from xdplb.control.writing.verifier import Verifier
from xdplb.control.writing.vip_watch import VipWatch
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import DataPlane
from xdplb.model.address import IPAddress, IPNetwork, address_order
from xdplb.model.announcing import Announcing
from xdplb.model.config import Settings
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.errors import InvalidError, NotFoundError
from xdplb.model.key import VipKey
from xdplb.model.nic import DesiredNic
from xdplb.model.node import NodeState
from xdplb.net.icmp_errors import IcmpErrorSource
from xdplb.net.next_hops import NextHopSource
from xdplb.peers.addresses import Place, parse_place
from xdplb.peers.peering import Peering

__all__ = ["Manager", "Reload"]

_RESOLVE_SECONDS = 2.0

Reload = Callable[[Actor, bool], Awaitable[Outcome | None]]
"""Reads the config file again for somebody, and returns what came of it; None if there is no such file."""


class Manager:
    """The control plane of one host, which balances on `nics`. It is used in `loop`, in which `start` ran.

    `among` says what it is among other balancers, None if it knows of none.

    `answers` reports the desired state and the status, from other threads, too; `explainer` says what would happen to a
    packet, `capturer` starts and ends captures, `events` reports what happens, and `history` what has happened: in
    memory, unless one is given that the caller starts and stops. `notes` returns sentences about the daemon itself,
    which the status has. `on_settings` is called with the settings at the start, and when they change.
    """

    def __init__(  # noqa: PLR0915 (it puts the parts together)
        self,
        plane: DataPlane,
        store: Store,
        next_hops: NextHopSource,
        checker: HealthSource | None,
        *,
        among: Among | None = None,
        nics: Sequence[DesiredNic] = (),
        icmp_errors: IcmpErrorSource | None = None,
        tunnel_sources: tuple[IPNetwork, ...] = (),
        place: PlaceView | None = None,
        decap: Decap = NO_DECAP,
        notes: Callable[[], Sequence[str]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        steady: SteadyClock | None = None,
        scan_seconds: float = 1.0,
        aftermath_seconds: float = 10.0,
        longest_pause: Callable[[], float] = lambda: 0.0,
        history: History | None = None,
        on_settings: Callable[[Settings], None] = lambda _settings: None,
    ) -> None:
        among = among or Among()
        self._steady = steady = steady or SteadyClock()
        self.history = history or History(None, Events(), now=steady.now)
        self.events = self.history.events
        self._owns_history = history is None
        self.pulses = Pulses()
        """The threads of the control plane, for whoever watches them."""
        self._drifts = drifts = Drifts(self.events, clock, steady.now)
        self._next_hops, self._checker = next_hops, checker
        applier = Applier(plane, clock, self.events, drifts, nics)
        self._writer = Writer(
            applier,
            store,
            next_hops,
            checker,
            self.events,
            drifts=drifts,
            history=self.history,
            capacity=plane.capacity,
            tunnel_sources=tunnel_sources,
            steady=steady,
            on_settings=on_settings,
            recorded_flows=lambda: self._flows.recorded(),  # noqa: PLW0108 - there is no _flows yet
            records=lambda: self._flows.records,
        )
        self._flows = FlowWatch(plane, self._writer, self.events, now=steady.now, period_seconds=scan_seconds)
        self._paths = PathWatch(icmp_errors, self._writer, self.events, steady=steady, period_seconds=scan_seconds)
        self.suspects = Suspects(plane, self._writer, checker)
        """Which backends are suspect, for whoever finds one that may not answer."""
        self._passive = PassiveWatch(
            plane, self._writer, self.events, checker, clock=clock, suspects=self.suspects.found
        )
        self._nics = NicWatch(self._writer, next_hops, drifts)
        self._client_ways = ClientWayWatch(plane, self._writer, next_hops)
        self.node = NodeWatch(among.node, self._writer, self.events, now=steady.now, period_seconds=scan_seconds)
        """This balancer as a whole, which may be drained."""
        self._probe_ways = ProbeWays(plane, self._writer, drifts, clock=clock, on_ready=self._probes_can_go)
        self._writer.on_targets = self._probe_ways.follow
        self._aftermath = Aftermath(self._writer, self.events, seconds=aftermath_seconds)
        self._writer.on_change = self._aftermath.begin
        self.cluster = self._writer.shared = None if among.store is None else self._sharing(among.store, plane)
        """What this balancer shares with others by a store, None if it shares nothing."""
        self._verifier = Verifier(self._writer, drifts)
        self._vips = VipWatch(applier, self.events)
        self._announces = None if among.table is None else self._announcing(among.announcing, among.table, clock)
        self._leaves_dns = among.names.leaves
        self.dns = DnsKeeper(
            self.node.name, among.names.book, self.events, drifts, steady.now, on_thread=self._watch_dns_thread
        )
        """The names in DNS of VIPs."""
        self._dns_watch = dns_watch = DnsWatch(self.dns, self._why_not_in_dns)
        self._writer.on_brought = self._brought
        self.node.on_change = self._node_changed
        self._vips.on_looked, self._vips.on_all_looked = dns_watch.look, dns_watch.look_at_host
        self._rates = RateWatch(self._writer, clock)
        self.own_status = self._status_among(among, clock)
        """What this node tells the others of itself."""
        self.records = RecordSync(plane, self._writer, drifts, clock=clock)
        """The records that go to the peers, and those that come from them."""
        self.peers = None if among.peering is None else self._peers_by(among.peering)
        """The other balancers, None if it has none."""
        self.store_nodes = None if among.store is None else self._nodes_in(among.store.repository, clock)
        """What nodes tell each other by the store, None if there is none."""
        self.answers = Answers(
            plane,
            self._writer,
            self._flows,
            nics=self._nics,
            node=self.node,
            cluster=self.cluster,
            dns=self.dns,
            own_status=self.own_status,
            peers=self.peers,
            store_nodes=self.store_nodes,
            paths=self._paths,
            passive=self._passive,
            drifts=drifts,
            pulses=self.pulses,
            checker=checker,
            steady=steady,
            place=place,
            decap=decap,
            notes=notes,
            longest_pause=longest_pause,
            history=self.history,
            transitions=Transitions(self.events),
            announces=self._announces,
        )
        self._tracking = TrackFiles(
            among.announcing,
            self._writer,
            events=self.events,
            drifts=drifts,
            clock=clock,
            not_ready=self.answers.not_ready,
            is_drained=lambda: self.node.drain is not None,
        )
        self._on_demand = OnDemand(checker)
        self.explainer = Explainer(plane, self._writer, steady.now)
        self.capturer = Capturer(plane, self._writer, self.events)
        self.reload: Reload | None = None
        """Reads the config file again, and may clear the overlay with it; None if nobody can be asked to."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Its event loop, None before `start`."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over the maps, bring them to the desired state, then watch the network and check backends.

        Raises PlatformError or ConflictError if the state or the data plane cannot be used.
        """
        self.loop = asyncio.get_running_loop()
        if self._owns_history:
            self.history.start()
        try:
            await self._writer.open()
            await self._flows.open()
            await self.node.open()
            await self._tracking.start()
            self.answers.started = self._steady.now()  # only now, since its clock goes on as that in the state stood
            await self._next_hops.start(self._next_hops_changed, self._writer.ways.edited)
            await self._nics.look()
            self._writer.watch()
            # The first plan must know the next hops: backends without one would lose their slots for a moment.
            await self._writer.wait_resolved(_RESOLVE_SECONDS)
            await self._writer.adopt()
            await self._paths.start()
            if self._checker is not None:
                await self._checker.start(
                    self._writer.health_flipped,
                    self.events,
                    self._next_hops.doubt,
                    self._check_source,
                    self.suspects.checked,
                    on_said=self._writer.agents.said,
                )
            if self.cluster is not None:
                await self.cluster.start()
        except BaseException:
            await self.stop()
            raise
        parts = (
            self._writer,
            self._writer.saver,
            self._nics,
            self._probe_ways,
            self._client_ways,
            self._flows,
            self._paths,
            self._passive,
            self._verifier,
            self._aftermath,
            self.suspects,
            self._vips,
            self.node,
            self._tracking,
            self._rates,
        )
        self._tasks = [asyncio.create_task(part.run()) for part in parts]
        if self.cluster is not None and self.store_nodes is not None:
            self._tasks += [asyncio.create_task(part.run()) for part in (self.cluster, self.store_nodes)]
        loop = self.loop
        meaning = "no change is made, and no backend is checked"
        self.pulses.watch("control loop", loop.call_soon_threadsafe, meaning)
        self._writer.watch_threads(self.pulses)
        self.pulses.watch("network thread", self._next_hops.ask, "next hops and NICs are not followed")
        if self.peers is not None:
            await self._join(self.peers)
        if self._announces is not None:  # only now: what comes because of that may be of connections that peers know
            self._tasks.append(asyncio.create_task(self._announces.run()))
        self.answers.is_running = True

    def _sharing(self, store: SharedStore, plane: DataPlane) -> Cluster:
        checker = self._checker
        return Cluster(
            store.repository,
            self._writer,
            self.events,
            self._drifts,
            node=self.node.name,
            place=store.place,
            capacity=plane.capacity,
            host=self._next_hops.host,
            runs_commands=checker is None or checker.runs_commands,
        )

    def _announcing(self, asked: Announcing, table: UsedTable, clock: Callable[[], float]) -> AnnounceWatch:
        return AnnounceWatch(
            asked,
            table,
            applier=self._writer.applier,
            node=self.node,
            events=self.events,
            drifts=self._drifts,
            clock=clock,
        )

    def _status_among(self, among: Among, clock: Callable[[], float]) -> OwnStatus:
        return OwnStatus(
            self._writer,
            self.node,
            self._vips,
            self._rates,
            steady=self._steady,
            url=among.url,
            peer="" if among.peering is None else str(next(iter(among.peering.sockets.places), "")),
            is_running=lambda: self.answers.is_running,
            clock=clock,
        )

    def _peers_by(self, peering: Peering) -> PeerWatch:
        return PeerWatch(
            peering,
            self.records,
            self._writer,
            checker=self._checker,
            status=self.own_status,
            events=self.events,
            drifts=self._drifts,
        )

    def _nodes_in(self, repository: Repository, clock: Callable[[], float]) -> StoreNodes:
        """Return what has this node and the others tell each other what they are, by the store."""
        cluster = self.cluster
        assert cluster is not None
        nodes = StoreNodes(
            repository,
            self.own_status,
            self._writer,
            self._drifts,
            steady=self._steady,
            away_since=lambda: cluster.standing.since if cluster.standing.state is StoreState.AWAY else None,
            on_peers=self._found_peers,
            clock=clock,
        )
        cluster.on_nodes = nodes.take
        return nodes

    def _found_peers(self, texts: Sequence[str]) -> None:
        """Talk to the peers that nodes say they are, by the store."""
        if self.peers is None:
            return
        places: list[Place] = []
        for text in texts:
            with contextlib.suppress(InvalidError):  # such as one that listens to all addresses, and does not say which
                places.append(parse_place(text, "peer"))
        self.peers.found(places)

    async def _join(self, peers: PeerWatch) -> None:
        """Take over what the peers know of open connections, before this node is ready for any."""
        try:
            await peers.start()
        except BaseException:
            await self.stop()
            raise
        peers.watch_thread(self.pulses)
        self._tasks.append(asyncio.create_task(peers.run()))

    async def stop(self) -> None:
        """Finish changes under way and release the state and the network. The data plane keeps running."""
        self.answers.is_running = False
        self._writer.stop_soon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._announces is not None:  # first, so that what is withdrawn is so while all else still goes on
            await self._announces.stop()
        await self._tracking.stop()
        if self.peers is not None:
            await self.peers.stop()
        if self._checker is not None:
            await self._checker.stop()
        await asyncio.to_thread(self.dns.stop, withdraw=self._leaves_dns())
        await self._paths.stop()
        await self._next_hops.stop()
        await self._flows.stop()
        await self._passive.stop()
        await self.node.stop()
        await self.explainer.stop()
        await self.capturer.stop()
        await self._writer.close()
        if self._owns_history:
            await asyncio.to_thread(self.history.stop)

    async def change(self, request: Request) -> Outcome:
        """Make a change, and return once the maps hold it; with `dry_run`, only return what it would do.

        Raises PreconditionError if `if_match` is no longer the generation, InvalidError, NotFoundError, ConflictError
        or CapacityError, with nothing changed, and PlatformError if the change could not be saved, or if it is saved
        but not yet in the data plane: the message says which.
        """
        return await self._writer.change(request)

    async def probe(self, key: VipKey, address: IPAddress | None) -> list[tuple[IPAddress, list[Probed]]]:
        """Run all checks of the VIP's backends once, or of the one with this address; see OnDemand.probe.

        Raises NotFoundError if there is no such VIP or backend, or nothing to check.
        """
        snapshot = self._writer.snapshot
        vip_of(snapshot.desired, key, "/path/vip")
        vip = snapshot.vips[key]
        if not vip.checks:
            raise NotFoundError(f"VIP {key} has no health check", hint="xdplb health set adds one")
        if address is not None and address not in vip.backends:
            raise no_backend(key, address, "/path/address")
        wanted = sorted(vip.backends, key=address_order) if address is None else [address]
        found = await self._on_demand.probe([vip.backends[each].id for each in wanted])
        return list(zip(wanted, found, strict=True))

    async def backup(self) -> bytes:
        """Return a file with the state, for `xdplb up --restore`. Raises StateError if it cannot be read."""
        return await self._writer.saver.copy()

    def _brought(self, dirty: Dirty) -> None:
        """Tell those who look at VIPs that the maps have these anew; first who withdraws them."""
        if self._announces is not None:
            self._announces.touch(dirty)
        self._tracking.disturb()
        self._vips.touch(dirty)
        self._client_ways.disturb()

    def _node_changed(self) -> None:
        if self._announces is not None:
            self._announces.disturb()
        self._tracking.disturb()
        self._dns_watch.disturb()

    def _watch_dns_thread(self, ask: Ask) -> None:
        self.pulses.watch("DNS thread", ask, "names in DNS are not followed", vital=False)

    def _why_not_in_dns(self) -> str:
        """Return why this balancer serves no VIP at all, as a sentence; "" if it does."""
        if self.node.state is not NodeState.SERVING:
            return "this balancer is drained"
        standings = self._writer.applier.nics.standings
        if standings and all(standing.reason for standing in standings):
            return f"no NIC of this balancer carries packets: {standings[0].reason}"
        return ""

    def _next_hops_changed(self, addresses: frozenset[IPAddress]) -> None:
        self._writer.next_hops_changed(addresses)
        self._nics.disturb()
        self._client_ways.disturb()

    def _check_source(self, backend: IPAddress, by_vip_of: int | None) -> Source:
        own = self._writer.host.check_source(self._writer.snapshot.desired, backend)
        return own if by_vip_of is None else self._probe_ways.source(by_vip_of, own)

    def _probes_can_go(self, backend_ids: Collection[int]) -> None:
        if self._checker is not None:
            self._checker.recheck(backend_ids)
