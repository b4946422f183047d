# SPDX-License-Identifier: Apache-2.0
"""All metrics at one moment. Pure functions, which may run in any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from xdplb import __version__
from xdplb.control.answers import render
from xdplb.control.answers.transitions import Transitions
from xdplb.control.answers.views import (
    FlowTableView,
    NicView,
    NotifyView,
    StatsView,
    StoreView,
    TruthView,
    UseView,
    VipStatsView,
    VipView,
)
from xdplb.control.events import DriftKind
from xdplb.control.flows.counters import Counted
from xdplb.control.flows.drain import FlowCounts, drain_view
from xdplb.control.health.standing import Standing
from xdplb.control.health.tally import CheckTally
from xdplb.control.history.history import Kept
from xdplb.control.paths.tunnel import Tunnel, tunnel_of
from xdplb.control.plan.eligibility import Eligibility
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.plan.weights import effective_weight
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.writing.drifts import Drift
from xdplb.control.writing.passive_watch import HandshakeCounts
from xdplb.control.writing.path_watch import Ignored, sent_mtu
from xdplb.control.writing.peer_watch import PeersView
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.backend import AdminState, Health
from xdplb.model.check_type import CheckType
from xdplb.model.durations import Taken
from xdplb.model.health import HealthCheck
from xdplb.model.key import VipKey
from xdplb.model.node import NodeState
from xdplb.net.icmp_message import ErrorKind

__all__ = [
    "ALL",
    "Asked",
    "BackendMetrics",
    "BackendState",
    "Level",
    "MetricsView",
    "Moment",
    "VipMetrics",
    "Wanted",
    "metrics_view",
]


class Level(StrEnum):
    """How far down metrics go: with those of each backend, of each VIP only, or of the host only."""

    BACKEND = "backend"
    VIP = "vip"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which metrics somebody asks for: down to this level, of the VIPs with these keys or names, or of all."""

    level: Level = Level.BACKEND
    vips: tuple[str, ...] = ()


ALL = Asked()
_NO_ERRORS: Mapping[ErrorKind, int] = {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which metrics are wanted: down to this level, and of these VIPs; of all if that is empty."""

    level: Level = Level.BACKEND
    vips: frozenset[VipKey] = frozenset()

    def has(self, key: VipKey) -> bool:
        """Return whether this VIP is one of them."""
        return not self.vips or key in self.vips


class BackendState(StrEnum):
    """The state of a backend in one word: the first of these that applies.

    `unreachable`: no frame can be sent to it, whatever its check says. `unknown`: its check has not passed yet. `held`:
    it passes its check, but flaps and is held down.
    """

    MAINT = "maint"
    DOWN = "down"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    DRAIN = "drain"
    EJECTED = "ejected"
    HELD = "held"
    UP = "up"


class BackendMetrics(NamedTuple):
    """The metrics of a backend besides its counters.

    `draining_flows` is None if it is not draining or not counted yet, `mtu` while it is not known. `checks` are those
    of its VIP, and `tallies` their results so far, in their order. `path_errors` are ICMP errors about packets in its
    tunnel, empty if there were none. `handshakes` are those that were sampled, None if they are not. `transitions` is
    how often its health changed.
    """

    state: BackendState
    weight: int
    effective_weight: float
    draining_flows: int | None
    checks: tuple[HealthCheck, ...]
    tallies: tuple[CheckTally, ...]
    mtu: int | None
    path_errors: Mapping[ErrorKind, int]
    handshakes: HandshakeCounts | None
    transitions: int


@dataclass(frozen=True, slots=True)
class VipMetrics:
    """The metrics of a VIP besides its counters; `backends` are in the order of its counters, none if not wanted.

    `transitions` is how often its status changed.
    """

    view: VipView
    transitions: int
    backends: tuple[BackendMetrics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What the metrics have as it is at a moment. `longest_pause` is the event loop's, in seconds.

    `drift_counts` is how much drift was found since the start, by kind and by whether it was repaired at once; `hung`
    says of each thread of the daemon whether it hangs. `truth` is who owns the desired state, `store` how this balancer
    stands to the store that it shares, None if it is alone. `held_back` says whether the program is an older one since
    that of this xdplb was rolled back. `node` is what this node does with traffic; `dns_updates` are updates of names
    in DNS since the start, by result. `peers` is how it stands with other balancers. `latencies` is how long checks
    took, by type, and `map_updates` how long the maps took to change; `changes_waiting` are those not made yet.
    `tables` says how full the maps of VIPs and backends are. `config_taken` is when the config file was taken last,
    None without one, and `clock_ahead` how far the wall clock has been set forward since the daemon started.
    """

    nics: tuple[NicView, ...]
    ignored_errors: Mapping[Ignored, int]
    standing: Standing
    longest_pause: float
    events: Kept
    notified: Sequence[NotifyView]
    drift_counts: Mapping[tuple[DriftKind, bool], int]
    hung: Mapping[str, bool]
    truth: TruthView
    store: StoreView | None
    held_back: bool
    node: NodeState
    dns_updates: Mapping[str, int]
    peers: PeersView
    latencies: Mapping[CheckType, Taken]
    map_updates: Taken
    changes_waiting: int
    tables: Mapping[str, UseView]
    started: datetime
    config_taken: datetime | None
    clock_ahead: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsView(Carried):
    """All metrics; `vips` are in the order of those in `stats`.

    `drift` is how much there is now, by kind. `vip_statuses` and `backend_states` count all VIPs and backends, wanted
    or not.
    """

    version: str
    generation: int
    observed_generation: int
    stats: StatsView
    drift: Mapping[DriftKind, int]
    vip_statuses: Mapping[OperatingStatus, int]
    backend_states: Mapping[BackendState, int]
    vips: tuple[VipMetrics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment(Carried):
    """Everything known at one moment, as input of a view. Nothing in it changes any more."""

    snapshot: Snapshot
    counted: Counted
    facts: render.Facts
    checks: Mapping[int, tuple[CheckTally, ...]]
    flow_table: FlowTableView
    flow_counts: FlowCounts | None
    cuts: Mapping[int, datetime]
    held: Mapping[int, BackendEntry]
    path_errors: Mapping[Tunnel, Mapping[ErrorKind, int]]
    handshakes: Mapping[int, HandshakeCounts]
    drift: tuple[Drift, ...]
    transitions: Transitions
    now: datetime


def metrics_view(moment: Moment, wanted: Wanted = Wanted()) -> MetricsView:
    """Return the view of a moment. Takes a tenth of a second with tens of thousands of backends."""
    vips = moment.snapshot.vips.values()
    chosen = [] if wanted.level is Level.TOTAL else [vip for vip in vips if wanted.has(vip.vip.key)]
    with_backends = wanted.level is Level.BACKEND
    stats = render.stats_view(chosen, moment.counted, moment.flow_table, with_backends=with_backends)
    states = {backend.id: _state(backend, moment) for vip in vips for backend in vip.backends.values()}
    return MetricsView(
        **{each.name: getattr(moment, each.name) for each in fields(Carried)},
        version=__version__,
        generation=moment.snapshot.generation,
        observed_generation=moment.facts.applied.generation,
        stats=stats,
        drift={kind: sum(each.kind is kind for each in moment.drift) for kind in DriftKind},
        vip_statuses=Counter(moment.facts.standing_of(vip).status for vip in vips),
        backend_states=Counter(states.values()),
        vips=tuple(
            [_vip_metrics(vip, counted, moment, states) for vip, counted in zip(chosen, stats.vips, strict=True)]
        ),
    )


def _vip_metrics(
    vip: BoundVip, counted: VipStatsView, moment: Moment, states: Mapping[int, BackendState]
) -> VipMetrics:
    """Return those of a VIP, with the backends that are `counted`; `states` are those of all backends, by id."""
    transitions, changed = moment.transitions.of_vip(counted.vip), moment.transitions.of_backends(counted.vip)
    backends = [
        _backend_metrics(vip, each, moment, states[each.id], changed.get(stats.backend, 0))
        for each, stats in zip(vip.backends.values(), counted.backends, strict=False)  # none, if they are not wanted
    ]
    return VipMetrics(render.vip_view(vip, moment.facts), transitions, tuple(backends))


def _backend_metrics(
    vip: BoundVip, bound: BoundBackend, moment: Moment, state: BackendState, transitions: int
) -> BackendMetrics:
    backend_id = bound.id
    return BackendMetrics(
        state=state,
        weight=bound.desired.backend.weight,
        effective_weight=effective_weight(vip, bound, moment.facts.health_of(bound)),
        draining_flows=_draining_flows(bound, moment),
        checks=vip.desired.checks,
        tallies=moment.checks.get(backend_id, ()),
        mtu=sent_mtu(moment.held.get(backend_id), vip, bound),
        path_errors=_path_errors(vip, bound, moment) if moment.path_errors else _NO_ERRORS,
        handshakes=moment.handshakes.get(backend_id),
        transitions=transitions,
    )


def _path_errors(vip: BoundVip, backend: BoundBackend, moment: Moment) -> Mapping[ErrorKind, int]:
    tunnel = tunnel_of(backend.backend.address, vip.forward_of(backend.backend), vip.vip.key.address.version)
    return _NO_ERRORS if tunnel is None else moment.path_errors.get(tunnel, _NO_ERRORS)


def _state(backend: BoundBackend, moment: Moment) -> BackendState:
    health, standing = moment.facts.health_of(backend).health, moment.facts.eligibility.get(backend.id)
    if backend.desired.backend.admin_state is AdminState.MAINT:
        return BackendState.MAINT
    if health is Health.DOWN:
        return BackendState.DOWN
    if standing is not None and not standing.reachable:
        return BackendState.UNREACHABLE
    if health is Health.UNKNOWN:
        return BackendState.UNKNOWN
    return _state_of_healthy(backend, standing, moment.handshakes.get(backend.id))


def _state_of_healthy(
    backend: BoundBackend, standing: Eligibility | None, handshakes: HandshakeCounts | None
) -> BackendState:
    if backend.desired.backend.admin_state is AdminState.DRAIN:
        return BackendState.DRAIN
    if handshakes is not None and handshakes.is_ejected:
        return BackendState.EJECTED
    return BackendState.HELD if standing is not None and standing.hold is not None else BackendState.UP


def _draining_flows(backend: BoundBackend, moment: Moment) -> int | None:
    if backend.drain is None:
        return None
    return drain_view(backend, backend.drain, moment.flow_counts, moment.now, moment.cuts.get(backend.id)).flows
