# SPDX-License-Identifier: Apache-2.0
"""The control plane's answers: views of the desired state and of the status. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from xdplb import __version__
from xdplb.control.answers import render
from xdplb.control.answers.gathered import Gathered
from xdplb.control.answers.metrics import ALL, Asked, Level, MetricsView, Moment, Wanted, metrics_view
from xdplb.control.answers.nics import nics_shown
from xdplb.control.answers.nodes import heard_by_peers, heard_by_store, nodes_view, this_node
from xdplb.control.answers.nodes_of_vip import node_of_vip, other_of_vip
from xdplb.control.answers.readiness import not_ready, too_few_serve
from xdplb.control.answers.store import store_view
from xdplb.control.answers.transitions import Transitions
from xdplb.control.answers.views import (
    AccessView,
    BackendsView,
    BackendView,
    ChecksView,
    CheckView,
    ConfigView,
    DataplaneView,
    DnsNameView,
    FlowTableView,
    NodeOfVipView,
    NodeView,
    NotifyView,
    OverlayView,
    PlaceView,
    StatsView,
    StatusView,
    StoreView,
    TruthView,
    UseView,
    VipStatsView,
    VipView,
)
from xdplb.control.answers.wall_time import backend_on_the_wall, check_on_the_wall
from xdplb.control.clock import SteadyClock
from xdplb.control.edits.find import find_backend, find_key
from xdplb.control.flows.counters import Counted
from xdplb.control.health.health_source import HealthSource
from xdplb.control.health.standing import NO_CHECKS, Standing
from xdplb.control.health.tally import CheckTally
from xdplb.control.history.history import History
from xdplb.control.plan.sentences import warning_sentence
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot, is_checked
from xdplb.control.writing.announce_watch import AnnounceWatch
from xdplb.control.writing.cluster import Cluster
from xdplb.control.writing.dns_keeper import DnsKeeper
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.flow_watch import FlowWatch
from xdplb.control.writing.nic_watch import NicWatch
from xdplb.control.writing.node_watch import NodeWatch
from xdplb.control.writing.own_status import OwnStatus
from xdplb.control.writing.passive_watch import PassiveWatch
from xdplb.control.writing.path_watch import PathWatch
from xdplb.control.writing.peer_watch import NO_PEERS, PeerWatch
from xdplb.control.writing.pulses import MAPS_THREAD, Pulses
from xdplb.control.writing.request import Outcome
from xdplb.control.writing.store_nodes import StoreNodes
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import FLOW, FLOW6_KEY, FLOW6_LINE, FLOW_KEY, FLOW_LINE, FLOW_WAYS, LAYOUT_VERSION
from xdplb.dataplane.plane import DataPlane
from xdplb.model.address import IPAddress
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.errors import InvalidError, NotFoundError, PlatformError
from xdplb.model.node import NodeState
from xdplb.model.printable import word
from xdplb.model.vip import VipKey

__all__ = ["Answers"]

_ELEMENT_BYTES = 48  # struct htab_elem, with the node of the LRU list
_BUCKET_BYTES = 16  # struct bucket; their number is the next power of two
_PROBATION_PART = 4

_HELD_BACK = (
    "an older program is in use: that of this xdplb was rolled back; `xdplb events` says why, and a restart with "
    "--accept-differences uses it all the same"
)


class Answers:
    """Answers from the writer's snapshot. Methods that are not `async` answer from memory, at once.

    All may be called in any thread, the `async` ones in one event loop: they read values that are replaced as a whole,
    and look up what they need in mappings that change meanwhile, but iterate over none of those.
    A `ref` is the name or key of a VIP, in any spelling; NotFoundError if there is none.
    """

    def __init__(
        self,
        plane: DataPlane,
        writer: Writer,
        flows: FlowWatch,
        *,
        nics: NicWatch,
        node: NodeWatch,
        cluster: Cluster | None,
        dns: DnsKeeper,
        own_status: OwnStatus,
        peers: PeerWatch | None,
        store_nodes: StoreNodes | None,
        paths: PathWatch,
        passive: PassiveWatch,
        drifts: Drifts,
        pulses: Pulses,
        checker: HealthSource | None,
        steady: SteadyClock,
        history: History,
        transitions: Transitions,
        announces: AnnounceWatch | None = None,
        place: PlaceView | None = None,
        decap: Decap = NO_DECAP,
        notes: Callable[[], Sequence[str]] = tuple,
        longest_pause: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._plane, self._writer, self._flows = plane, writer, flows
        self._nics, self._paths, self._checker, self._steady = nics, paths, checker, steady
        self._drifts, self._pulses, self._passive, self._node = drifts, pulses, passive, node
        self._dns, self._transitions = dns, transitions
        self._own_status, self._peers, self._store_nodes = own_status, peers, store_nodes
        self._decap = decap
        self.started, self._place, self._notes, self._cluster = steady.now(), place, notes, cluster
        self._longest_pause, self._history, self._announces = longest_pause, history, announces
        self._counted = Gathered(self._read_counters, rests=True)
        self._last_counted: Counted | None = None
        self.config_error = ""
        """Why the config file was refused when it was read last."""
        self.config_taken: datetime | None = None
        """When the config file was taken last, None if it never was."""
        self.notified: Callable[[], Sequence[NotifyView]] = tuple
        """The commands and webhooks that events are handed on to."""
        self.is_running = False
        """Whether the manager has started and is not stopping."""

    def key(self, ref: str) -> VipKey:
        """Return the key of a VIP. Changes use the key, since by then the name may belong to another VIP."""
        return find_key(self._snapshot.desired, ref, "/path/vip")

    def key_of_any(self, ref: str, pointer: str) -> VipKey:
        """Return the key of a VIP, which may be gone or not be there yet if `ref` is a key and no name."""
        try:
            return VipKey.parse(ref)
        except InvalidError:
            return find_key(self._snapshot.desired, ref, pointer)

    def place(self, ref: str, address: str) -> tuple[VipKey, IPAddress]:
        """Return the key of a VIP and the address of one of its backends; NotFoundError if there is no such backend."""
        vip = self._vip(ref)
        return vip.vip.key, find_backend(vip.vip.key, vip.backends, address, "/path/address").backend.address

    def vips(self) -> list[VipView]:
        """Return all VIPs."""
        facts = self._facts()
        return [render.vip_view(vip, facts) for vip in self._snapshot.vips.values()]

    def vip(self, ref: str) -> VipView:
        """Return a VIP."""
        return render.vip_view(self._vip(ref), self._facts())

    def backends(self, ref: str) -> BackendsView:
        """Return a VIP's backends."""
        return self._backends_view(self._vip(ref), self._facts())

    def all_backends(self) -> dict[VipKey, BackendsView]:
        """Return the backends of all VIPs, by VIP."""
        facts = self._facts()
        return {key: self._backends_view(vip, facts) for key, vip in self._snapshot.vips.items()}

    def backend(self, ref: str, address: str) -> BackendView:
        """Return one backend of a VIP; NotFoundError if there is none with this address."""
        vip = self._vip(ref)
        return self._backend_view(vip, find_backend(vip.vip.key, vip.backends, address, "/path/address"), self._facts())

    def checks(self, ref: str) -> ChecksView:
        """Return a VIP's health checks and their results."""
        return self._checks_view(self._vip(ref), self._facts())

    def all_checks(self) -> dict[VipKey, ChecksView]:
        """Return the health checks of all VIPs and their results, by VIP."""
        facts = self._facts()
        return {key: self._checks_view(vip, facts) for key, vip in self._snapshot.vips.items() if vip.checks}

    def dns_names(self) -> list[DnsNameView]:
        """Return the names in DNS of this node's VIPs, as they were read last."""
        return render.dns_name_views(self._dns.found, self._dns.standings, self._steady.ahead())

    def access(self, ref: str) -> AccessView:
        """Return a VIP's access list; an empty one accepts packets from any source."""
        vip = self._vip(ref)
        return AccessView(vip.access, vip.generation)

    def vip_after(self, outcome: Outcome, key: VipKey) -> VipView:
        """Return a VIP as it was after a change, even if it has been removed again since."""
        return render.vip_view(outcome.after.vips[key], self._facts(outcome))

    def backend_after(self, outcome: Outcome, key: VipKey, address: IPAddress) -> BackendView:
        """Return a backend as it was after a change, even if it has been removed again since."""
        vip = outcome.after.vips[key]
        return self._backend_view(vip, vip.backends[address], self._facts(outcome))

    def backends_after(self, outcome: Outcome, key: VipKey) -> BackendsView:
        """Return a VIP's backends as they were after a change, even if it has been removed again since."""
        return self._backends_view(outcome.after.vips[key], self._facts(outcome))

    def checks_after(self, outcome: Outcome, key: VipKey) -> ChecksView:
        """Return a VIP's health checks as they were after a change, with their results so far."""
        return self._checks_view(outcome.after.vips[key], self._facts(outcome))

    def access_after(self, outcome: Outcome, key: VipKey) -> AccessView:
        """Return a VIP's access list as it was after a change."""
        vip = outcome.after.vips[key]
        return AccessView(vip.access, vip.generation)

    def truth(self) -> TruthView:
        """Return who owns the desired state."""
        return TruthView(self._snapshot.desired.owner, len(self._writer.overlaid), self.config_error)

    def config(self) -> ConfigView:
        """Return the whole desired state."""
        snapshot = self._snapshot
        laid = (
            OverlayView(str(key), backend.backend, backend.declared)
            for key, vip in sorted(snapshot.desired.vips.items())
            for backend in vip.backends.values()
            if backend.declared is not None
        )
        return ConfigView(snapshot.desired, snapshot.generation, tuple(laid) if snapshot.desired.owner else ())

    def store(self) -> StoreView | None:
        """Return how this balancer stands to the store that it shares with others, None if it is alone."""
        cluster = self._cluster
        return None if cluster is None else store_view(cluster, self._snapshot, self._steady.ahead())

    async def stats(self) -> StatsView:
        """Read all counters."""
        counted = await self._counted()
        return render.stats_view(self._snapshot.vips.values(), counted, self._flow_table())

    async def vip_stats(self, ref: str) -> VipStatsView:
        """Read the counters of a VIP and its backends."""
        vip = self._vip(ref)  # before the counters are read: meanwhile it may be renamed or removed
        return render.vip_stats_view(vip, await self._counted())

    async def metrics(self, asked: Asked = ALL) -> MetricsView:
        """Return the metrics that are asked for. The counters are read once.

        All that goes through many backends is done in threads. NotFoundError if one of the VIPs is not there.
        """
        wanted = Wanted(asked.level, frozenset(map(self.key, asked.vips)))
        counted = await self._counted_unless_hung()
        checks = self._checker if asked.level is Level.BACKEND else None
        tallies = {} if checks is None else await asyncio.to_thread(checks.tallies)
        handshakes = await self._passive.counted()
        facts, applier = self._facts(), self._writer.applier
        moment = Moment(
            snapshot=self._snapshot,
            counted=counted,
            facts=replace(facts, health=dict(facts.health)),
            checks=tallies,
            latencies={} if self._checker is None else self._checker.latencies(),
            flow_table=self._flow_table(),
            flow_counts=self._flows.counts,
            cuts=self._writer.cuts,
            nics=nics_shown(applier.nics),
            held=applier.known.backends,
            path_errors=self._writer.paths.all_counts(),
            handshakes=handshakes,
            ignored_errors=dict(self._paths.ignored),
            standing=self._checks_standing,
            longest_pause=self._longest_pause(),
            events=self._history.kept,
            notified=tuple(self.notified()),
            drift_counts=self._drifts.counts(),
            drift=self._drifts.standing(),
            hung={thread: thread in self._pulses.hangs for thread in self._pulses.threads},
            truth=self.truth(),
            store=self.store(),
            held_back=self._plane.is_held_back,
            node=self._node.state,
            dns_updates=asdict(self._dns.counts),
            peers=NO_PEERS if self._peers is None else self._peers.view,
            transitions=self._transitions,
            map_updates=applier.updates.taken,
            changes_waiting=self._writer.waiting,
            tables={
                "vips": UseView(len(applier.known.vips), self._plane.capacity.vips),
                "backends": UseView(len(applier.known.backends), self._plane.capacity.backends),
            },
            started=self.started + self._steady.ahead(),
            config_taken=self.config_taken,
            clock_ahead=self._steady.ahead(),
            now=self._steady.now(),
        )
        return await asyncio.to_thread(metrics_view, moment, wanted)

    def dataplane(self) -> DataplaneView:
        """Return the data plane as loaded. NICs and flow records are as of the last count, seconds ago."""
        capacity, known = self._plane.capacity, self._writer.applier.known
        return DataplaneView(
            layout=LAYOUT_VERSION,
            features=self._writer.applier.features,
            capacity=capacity,
            attachments=self._writer.applier.attachments,
            vips=UseView(len(known.vips), capacity.vips),
            backends=UseView(len(known.backends), capacity.backends),
            flows=self._flow_table(),
            place=self._place,
            decap=self._decap,
        )

    def status(self) -> StatusView:
        """Return an overview of the whole host."""
        return StatusView(
            version=__version__,
            started=self.started + self._steady.ahead(),
            generation=self._snapshot.generation,
            observed_generation=self._writer.applied.generation,
            attachments=self._writer.applier.attachments,
            nics=nics_shown(self._writer.applier.nics),
            vips=tuple(self.vips()),
            flows=self._flow_table(),
            last_error=self._writer.last_error,
            warnings=(
                *(warning_sentence(warned) for warned in self._writer.host.concerns(self._snapshot.desired)),
                *self._passive.warnings(),
            ),
            notes=(*self._notes(), *((_HELD_BACK,) if self._plane.is_held_back else ())),
            config=self.truth(),
            store=self.store(),
            drift=tuple(replace(each, since=each.since + self._steady.ahead()) for each in self._drifts.standing()),
        )

    def not_ready(self) -> list[str]:
        """Return the reasons why traffic may not be balanced as configured, a sentence each; empty if all is well."""
        if not self.is_running:
            return ["the control plane is not running"]
        applier = self._writer.applier
        reasons = [str(hang) for hang in self._pulses.hangs.values()]
        reasons += not_ready(
            self._snapshot, applier.attachments, applier.nics.standings, applier.eligibility, self._writer.last_error
        )
        if self._nics.error:
            reasons.append(f"it is not known which NICs have the program: {self._nics.error}")
        if self._writer.saver.error:
            reasons.append(f"changes are refused: {self._writer.saver.error}")
        if why := self._checks_standing.reason:
            reasons.append(why)
        if (state := self._node.state) is not NodeState.SERVING:
            reasons.append(f"this node, {self._node.name}, is {state.value}: xdplb node undrain ends that")
        return reasons

    def nodes(self) -> list[NodeView]:
        """Return the nodes that are known here, this one first."""
        peers = () if self._peers is None else self._peers.view.peers
        now, ahead = self._steady.now(), self._steady.ahead()
        heard = heard_by_peers(peers, now + ahead, time.monotonic())
        if (shared := self._store_nodes) is not None:
            heard += heard_by_store(list(shared.others.values()), now, ahead, shared.away_since())
        return nodes_view(self._this_node(), heard)

    def node(self, name: str) -> NodeView:
        """Return the node of this name; NotFoundError if none is known here."""
        for view in self.nodes():
            if view.name == name:
                return view
        raise NotFoundError.field(
            "/path/name", f"no node is called {word(name, 80)} here", hint="xdplb node ls shows those that are known"
        )

    def nodes_of_vip(self, ref: str) -> list[NodeOfVipView]:
        """Return what each node says of a VIP and its backends, this one first."""
        vip, (this, *others) = self._vip(ref), self.nodes()
        has = self._writer.applied.vips.get(vip.vip.key)
        generation = 0 if has is None else has.generation
        told = {} if self._store_nodes is None else self._store_nodes.others
        return [
            node_of_vip(vip, this, self._writer.health.known, self._steady.ahead(), generation=generation),
            *(other_of_vip(vip, node, told.get(node.name)) for node in others),
        ]

    def readiness_of(self, refs: Sequence[str]) -> tuple[list[VipView], list[str]]:
        """Return these VIPs, each once, and why they are not ready here: what `not_ready` returns, and their backends.

        NotFoundError if there is no such VIP. It suggests none: anybody may ask this, as often as they like.
        """
        snapshot, facts = self._snapshot, self._facts()
        keys = dict.fromkeys(find_key(snapshot.desired, ref, "/query/vip", suggests=False) for ref in refs)
        views = [render.vip_view(snapshot.vips[key], facts) for key in keys]
        return views, [*self.not_ready(), *filter(None, map(too_few_serve, views))]

    def _this_node(self) -> NodeView:
        return this_node(
            self._node,
            self._own_status(),
            started=self.started,
            ahead=self._steady.ahead(),
            not_ready=self.not_ready(),
            in_store=self._store_nodes is not None,
            announces_in=None if self._announces is None else self._announces.place,
        )

    async def _read_counters(self) -> Counted:
        applier = self._writer.applier
        counted = await self._writer.read_maps(lambda: Counted(self._plane.counters(), applier.known))
        self._last_counted = counted
        return counted

    async def _counted_unless_hung(self) -> Counted:
        """Return the counters, or if they cannot be read the last ones: a scrape is to say that their thread hangs."""
        hang = self._pulses.hangs.get(MAPS_THREAD)
        if hang is None:
            return await self._counted()
        if self._last_counted is None:
            raise PlatformError(f"the counters cannot be read: {hang}", hint="restart xdplb; packets flow meanwhile")
        return self._last_counted

    def _flow_table(self) -> FlowTableView:
        capacity, applier = self._plane.capacity.flows, self._writer.applier
        with_ipv6 = Feature.IPV6 in applier.features
        return FlowTableView(
            used=self._flows.records,
            capacity=capacity * (2 if with_ipv6 else 1),
            bytes=_flow_table_bytes(capacity, with_ipv6=with_ipv6),
            evicted=applier.evictions.evicted,
        )

    @property
    def _checks_standing(self) -> Standing:
        return NO_CHECKS if self._checker is None else self._checker.standing()

    @property
    def _snapshot(self) -> Snapshot:
        return self._writer.snapshot

    def _facts(self, outcome: Outcome | None = None) -> render.Facts:
        """Return the facts known now; for backends removed since `outcome`, their health as of then."""
        applier, health = self._writer.applier, self._writer.health.known
        if outcome is not None:
            health = ChainMap(dict(health), dict(outcome.health))
        known, carry = applier.known, applier.nics.all_carry
        return render.Facts(
            applied=self._writer.applied,
            health=health,
            eligibility=applier.eligibility,
            tables=known.tables,
            drafts=known.drafts,
            nics_carry=carry,
            announced={} if self._announces is None else self._announces.shown,
            dns=self._dns.standings,
            ahead=self._steady.ahead(),
            now=self._steady.now(),
        )

    def _vip(self, ref: str) -> BoundVip:
        return self._snapshot.vips[self.key(ref)]

    def _backends_view(self, vip: BoundVip, facts: render.Facts) -> BackendsView:
        views = tuple(self._backend_view(vip, backend, facts) for backend in vip.backends.values())
        return BackendsView(views, vip.generation)

    def _backend_view(self, vip: BoundVip, backend: BoundBackend, facts: render.Facts) -> BackendView:
        view = render.backend_view(
            vip,
            backend,
            facts,
            next_hop=self._writer.resolution(backend.backend.address).next_hop,
            path=self._paths.of(vip, backend),
            flows=self._flows.of(backend),
            drain=self._flows.drain(backend),
            certificate=self._flows.certificate(backend),
            tallies=self._tallies(backend),
            passive=self._passive.of(vip, backend),
            is_pending=(vip.vip.key, backend.backend.address) in self._snapshot.copy.pending,
        )
        return backend_on_the_wall(view, self._steady.ahead())

    def _checks_view(self, vip: BoundVip, facts: render.Facts) -> ChecksView:
        found: list[list[CheckView]] = [[] for _ in vip.checks]
        for backend in vip.backends.values():
            if not is_checked(vip, backend):
                continue
            for views, view in zip(found, self._check_views(vip, backend, facts), strict=True):
                views.append(view)
        return ChecksView(tuple(zip(vip.checks, map(tuple, found), strict=True)), vip.generation)

    def _check_views(self, vip: BoundVip, backend: BoundBackend, facts: render.Facts) -> Iterator[CheckView]:
        """Yield the view of each check of a backend."""
        known, ahead, tallies = facts.health_of(backend), self._steady.ahead(), self._tallies(backend)
        if len(tallies) != len(vip.checks):  # they are begun or changed right now
            tallies = (CheckTally(),) * len(vip.checks)
        for place, tally in enumerate(tallies):
            yield check_on_the_wall(render.check_view(vip, backend, known, place, tally), ahead)

    def _tallies(self, backend: BoundBackend) -> tuple[CheckTally, ...]:
        return () if self._checker is None else self._checker.tallies_of(backend.id)


def _flow_table_bytes(capacity: int, *, with_ipv6: bool) -> int:
    """Return the memory of the flow tables in bytes: `capacity` open flows per family, and those on probation.

    There are also lines for as many open flows: the tables take those whose line is full.
    """
    keys = [FLOW_KEY.itemsize, FLOW6_KEY.itemsize] if with_ipv6 else [FLOW_KEY.itemsize]
    lines = [FLOW_LINE.itemsize, FLOW6_LINE.itemsize] if with_ipv6 else [FLOW_LINE.itemsize]
    tables = (capacity, max(1, capacity // _PROBATION_PART))
    in_tables = sum(_lru_bytes(entries, key_bytes + FLOW.itemsize) for key_bytes in keys for entries in tables)
    return in_tables + (capacity // FLOW_WAYS + 1) * sum(lines)


def _lru_bytes(entries: int, key_and_value_bytes: int) -> int:
    """Return the memory of an LRU hash map in bytes, counted as the kernel has done since 5.15."""
    buckets = 1 << (entries - 1).bit_length()
    return entries * (_ELEMENT_BYTES + key_and_value_bytes) + buckets * _BUCKET_BYTES
