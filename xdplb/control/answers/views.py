# SPDX-License-Identifier: Apache-2.0
"""The status as plain values, which the API renders and the CLI prints.

A view is taken at one moment and never changes. Times are UTC. Counters only grow while the VIP or backend exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from xdplb.control.flows.drain import DrainView
from xdplb.control.health.passive.totals import Latency
from xdplb.control.health.tally import Recent
from xdplb.control.plan.dns_change import Standing
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.desired import Declared, Desired
from xdplb.control.writing.announce_watch import Announcement
from xdplb.control.writing.drifts import Drift
from xdplb.control.writing.path_watch import PathView
from xdplb.control.writing.store_standing import StoreState
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Attachment, Capacity
from xdplb.dns.records import Place
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, Health
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.health import HealthCheck
from xdplb.model.node import SeenState
from xdplb.model.node_health import SeenHealth
from xdplb.model.node_status import NodeStatus
from xdplb.model.vip import Forward, Vip

__all__ = [
    "AccessView",
    "BackendStatsView",
    "BackendView",
    "BackendsView",
    "CheckView",
    "ChecksView",
    "ConfigView",
    "DataplaneView",
    "DnsAddressView",
    "DnsNameView",
    "DnsView",
    "EjectionView",
    "FlowTableView",
    "NicView",
    "NodeDrainView",
    "NodeOfVipView",
    "NodeView",
    "NotifyView",
    "OverlayView",
    "PendingView",
    "PlaceView",
    "SlotsView",
    "StatsView",
    "StatusView",
    "StoreView",
    "TruthView",
    "UseView",
    "VipStatsView",
    "VipView",
]


@dataclass(frozen=True, slots=True)
class SlotsView:
    """How many of a VIP's slots are in each state."""

    steady: int
    moving: int
    pinned: int


@dataclass(frozen=True, slots=True)
class DnsView:
    """How a VIP's address stands under its name in DNS, None if that was never read, since when, and why so.

    `is_behind`: the name could not be read or changed the last time. `reason` is a sentence, "" if all is well.
    """

    standing: Standing | None
    since: datetime
    reason: str
    is_behind: bool

    @property
    def is_published(self) -> bool:
        """Whether the address is under the name, whoever has put it there."""
        return self.standing in {Standing.IN, Standing.LAST, Standing.OTHERS, Standing.FOREIGN}


@dataclass(frozen=True, slots=True)
class DnsAddressView:
    """An address under a name, or that this node wants there: the nodes that have a claim on it, and how it stands.

    `here` is None for an address that no VIP of this node has.
    """

    address: IPAddress
    nodes: tuple[str, ...]
    is_present: bool
    here: DnsView | None


@dataclass(frozen=True, slots=True)
class DnsNameView:
    """A name of this node, as it was when it was read last."""

    place: Place
    addresses: tuple[DnsAddressView, ...]


@dataclass(frozen=True, slots=True)
class VipView:
    """A VIP and its status. `generation` is the last change to it, its backends, check or access list.

    `backends_serving` take new connections and are healthy; `backends_needed` must be, by its `min_serving`. `reason`
    says what is special about who serves. `announced` is None if it asks for no route, and `dns` if it has no name
    there. `allowed` and `denied` are the numbers of prefixes in its access list.
    """

    vip: Vip
    generation: int
    observed_generation: int
    operating_status: OperatingStatus
    slots: SlotsView
    backends: int
    backends_serving: int
    backends_needed: int
    reason: str
    announced: Announcement | None
    allowed: int
    denied: int
    dns: DnsView | None

    @property
    def min_serving_met(self) -> bool:
        """Whether as many backends serve as must."""
        return self.backends_serving >= self.backends_needed


@dataclass(frozen=True, slots=True)
class AccessView:
    """A VIP's access list; `generation` is the VIP's."""

    access: AccessList
    generation: int


@dataclass(frozen=True, slots=True)
class EjectionView:
    """An ejection: `times` counts it and those shortly before it, and `until` is when it ends by itself."""

    since: datetime
    until: datetime
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend and its status.

    `reason` is a sentence about its health and the path to it, empty if all is well. `held_until` is set while it is
    held down since it flaps. `effective_weight` is its weight, or what its agent wants in the place of that. `share` is
    its share of the VIP's new connections now, 0 to 1. `flows` is the number of its recorded open connections at the
    last scan, None if not scanned: only flows in slots that change owners are recorded (all flows with tracking =
    always). `declared` is what the config file says of it, if an overlay lies over that.
    It is `pending` if it was changed while the store was away. `certificate` is what came of its drain, or the last
    one.
    `handshakes` is the latency of those that were sampled lately, None if there were none. `hint` is a sentence about
    how they differ from those of its peers, empty if they do not.
    """

    backend: Backend
    forward: Forward
    generation: int
    observed_generation: int
    health: Health
    reason: str
    since: datetime
    held_until: datetime | None
    effective_weight: float
    share: float
    flows: int | None
    mac: str | None
    interface: str | None
    drain: DrainView | None
    certificate: Certificate | None
    path: PathView
    declared: Declared | None
    pending: bool
    ejection: EjectionView | None
    handshakes: Latency | None
    hint: str


@dataclass(frozen=True, slots=True)
class BackendsView:
    """A VIP's backends; `generation` is the VIP's."""

    backends: tuple[BackendView, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class CheckView:
    """One check of one backend: what it asks, the health that it shows, its last result, and those before it."""

    backend: str
    check: HealthCheck
    asks: str
    health: Health
    reason: str
    since: datetime
    last_run: datetime | None
    last_passed: bool | None
    last_seconds: float | None
    passes: int
    failures: int
    recent: tuple[Recent, ...]


@dataclass(frozen=True, slots=True)
class ChecksView:
    """A VIP's health checks, each with its results of each backend; `generation` is the VIP's."""

    checks: tuple[tuple[HealthCheck, tuple[CheckView, ...]], ...]
    generation: int


class BackendStatsView(NamedTuple):
    """Counters of one backend; `bytes` are those of frames as received, with the Ethernet header.

    `failovers` and `over` are new connections that went to another backend: since this one was suspect or could not be
    sent to, and since it had as many as it may get. `replies` are packets of a nat backend sent on to clients.
    """

    backend: str
    packets: int
    bytes: int
    new_flows: int
    failovers: int
    over: int
    replies: int


@dataclass(frozen=True, slots=True)
class VipStatsView:
    """Counters of one VIP and its backends. `at_risk`: packets without a needed record; `records`: records made."""

    vip: str
    packets: int
    bytes: int
    new_flows: int
    at_risk: int
    records: int
    replies: int
    backends: tuple[BackendStatsView, ...]


@dataclass(frozen=True, slots=True)
class FlowTableView:
    """The flow table: records of open flows at the last count, its capacity, and the bytes of memory it takes.

    `evicted` are the records evicted since the daemon started because the table was full.
    """

    used: int
    capacity: int
    bytes: int
    evicted: int


@dataclass(frozen=True, slots=True)
class StatsView:
    """All counters. `drops`, `passes` and `answers` are packets by reason, such as `no_backend`.

    `nics` are the frames that came in by each NIC, by what became of them, such as `redirect`.
    `unwrapped` are the packets that were taken out of tunnels which end here.
    """

    vips: tuple[VipStatsView, ...]
    drops: Mapping[str, int]
    passes: Mapping[str, int]
    answers: Mapping[str, int]
    nics: Mapping[str, Mapping[str, int]]
    unwrapped: int
    flow_table: FlowTableView


@dataclass(frozen=True, slots=True)
class UseView:
    """How much of a map is in use."""

    used: int
    capacity: int


@dataclass(frozen=True, slots=True)
class NotifyView:
    """A command or webhook that events are handed on to: how many it took and did not get, and how many tries failed.

    `waiting` are those that it has not got yet.
    """

    name: str
    sent: int
    failed: int
    dropped: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PlaceView:
    """Where the daemon runs: its process, its host, its network namespace (an inode), and its folders."""

    pid: int
    boot_id: str
    network_namespace: int
    pin_dir: str
    state_dir: str


@dataclass(frozen=True, slots=True)
class NicView:
    """A NIC that was asked for, or one that has the program from before (then `asked_mode` and `up` are None).

    `mode` is the mode that it is in, else the one that is asked for. `reason` is a sentence that says why it does not
    carry packets as asked, "" if it does; `note` one that says why it is in skb mode.
    """

    interface: str
    asked_mode: str | None
    attached: bool
    mode: str
    up: bool | None
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class DataplaneView:
    """The data plane as loaded: NICs with program ids, features, and how full the maps are.

    `layout` is the version of the layout of `meta`, which describes all maps. `place` is where the daemon runs,
    and `decap` says which tunnels end here.
    """

    layout: int
    features: Features
    capacity: Capacity
    attachments: tuple[Attachment, ...]
    vips: UseView
    backends: UseView
    flows: FlowTableView
    place: PlaceView | None = None
    decap: Decap = NO_DECAP


@dataclass(frozen=True, slots=True)
class OverlayView:
    """A backend over which an operator has laid another weight or admin state than the config file says."""

    vip: str
    backend: Backend
    declared: Declared


@dataclass(frozen=True, slots=True)
class ConfigView:
    """The whole desired state, and the overlay over what a config file declares."""

    desired: Desired
    generation: int
    overlay: tuple[OverlayView, ...]


@dataclass(frozen=True, slots=True)
class NodeDrainView:
    """The drain of a node; `ended` is None while it drains. `timed_out`: packets still came when it ended.

    `packets_per_second` are those that come for its VIPs, None as long as that is not known.
    """

    started: datetime
    deadline: datetime
    quiet_seconds: float
    ended: datetime | None
    timed_out: bool
    packets_per_second: float | None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, one balancer of those that serve the same VIPs. `is_this` is true of the one that answers.

    `not_ready` are the sentences that say why it is not ready, as its `/readyz` does; nothing is known of those of
    other nodes. `status` is what it tells of itself. `heard` is when it was heard of last, None of this one, and
    `peer_is_up` whether records go to it, None if it is no peer. `state_is_equal` and `health_is_equal` compare its
    VIPs and backends, and which of them are not up, with this node's; None if that is not known. `share` is its part of
    all packets. `in_store`: it shares the store with this one, so that generations are the same numbers on both.
    `announces_in` is the number of the routing table where its routes are, and their protocol; None if that is not
    known.
    """

    name: str
    is_this: bool
    state: SeenState
    since: datetime
    version: str
    generation: int
    observed_generation: int
    not_ready: tuple[str, ...]
    drain: NodeDrainView | None
    status: NodeStatus
    heard: datetime | None
    peer_is_up: bool | None
    state_is_equal: bool | None
    health_is_equal: bool | None
    share: float | None
    in_store: bool
    announces_in: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NodeOfVipView:
    """What a node says of a VIP: the generation that it has of it, and the health of each backend as it sees it.

    `generation` is None if generations cannot be compared; of a backend of which nothing is known, the health is None.
    """

    name: str
    is_this: bool
    state: SeenState
    generation: int | None
    backends: Mapping[IPAddress, SeenHealth | None]


@dataclass(frozen=True, slots=True)
class TruthView:
    """Who owns the desired state: a config file by its path (`owner`), or the API, if that is empty.

    `overlay` is how many backends are under an overlay. `error` is why the file was refused when it was read last,
    empty if it was taken.
    """

    owner: str
    overlay: int
    error: str


@dataclass(frozen=True, slots=True)
class PendingView:
    """A backend that was changed here while the store was away: what it has here, and what it has in the store."""

    vip: str
    backend: Backend
    stored: Backend


@dataclass(frozen=True, slots=True)
class StoreView:
    """The store that balancers share, where it is (`place`) and how this one stands to it, with the `reason` if not up.

    `lineage` tells one state in a store from others, empty if the one here was never in one. `generation` and `digest`
    are those of the state that is there, as this balancer knows it. `refused` are the entries that it does not take,
    each with the reason. `writes` and `conflicts` count since the start.
    """

    place: str
    state: StoreState
    reason: str
    since: datetime
    revision: int
    lineage: str
    generation: int
    digest: str
    pending: tuple[PendingView, ...]
    refused: tuple[tuple[str, str], ...]
    writes: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class StatusView:
    """An overview of the host. `last_error` is a sentence, empty if the data plane has the latest change.

    `warnings` are sentences about VIPs that are in the way of what this host sends itself, and about backends that
    differ from their peers; `notes` are about the daemon. `store` is None if this balancer is alone. `drift` is what is
    not as it should be on this host.
    """

    version: str
    started: datetime
    generation: int
    observed_generation: int
    attachments: tuple[Attachment, ...]
    nics: tuple[NicView, ...]
    vips: tuple[VipView, ...]
    flows: FlowTableView
    last_error: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    config: TruthView
    store: StoreView | None
    drift: tuple[Drift, ...]
