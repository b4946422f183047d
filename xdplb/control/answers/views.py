"""What is so, as plain values: what the API renders and the CLI prints.

A view is taken at one moment and never changes. Times are UTC; counters only ever grow while an id lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from xdplb.control.flows.drain import DrainView
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Attachment, Capacity
from xdplb.model.access import AccessList
from xdplb.model.backend import Backend, Health
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Vip

__all__ = [
    "AccessView",
    "BackendStatsView",
    "BackendView",
    "CheckView",
    "DataplaneView",
    "FlowTableView",
    "OperatingStatus",
    "SlotsView",
    "StatsView",
    "StatusView",
    "UseView",
    "VipStatsView",
    "VipView",
]


class OperatingStatus(StrEnum):
    """How a VIP is doing: all of its ready backends serve, some do, none does, or it has none."""

    ONLINE = "ONLINE"
    DEGRADED = "DEGRADED"
    OFFLINE = "OFFLINE"
    NO_BACKEND = "NO_BACKEND"


@dataclass(frozen=True, slots=True)
class SlotsView:
    """How many of a VIP's slots are in each state."""

    steady: int
    moving: int
    pinned: int


@dataclass(frozen=True, slots=True)
class VipView:
    """A VIP as asked for and as it is. `generation` is the last change to it or anything of its own.

    `allowed` and `denied` are how many prefixes its access list has of either kind.
    """

    vip: Vip
    generation: int
    observed_generation: int
    operating_status: OperatingStatus
    slots: SlotsView
    backends: int
    backends_serving: int
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class AccessView:
    """A VIP's access list; `generation` is the VIP's."""

    access: AccessList
    generation: int


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend as asked for and as it is.

    `reason` is a sentence about the health, empty when there is nothing to say. `share` is its part, 0 to 1, of the
    VIP's new connections now. `flows` are its recorded open connections at the latest scan, None when not scanned:
    only flows in slots that change are recorded (all of them with tracking = always).
    """

    backend: Backend
    forward: Forward
    generation: int
    observed_generation: int
    health: Health
    reason: str
    since: datetime
    share: float
    flows: int | None
    mac: str | None
    interface: str | None
    drain: DrainView | None


@dataclass(frozen=True, slots=True)
class CheckView:
    """The checks of one backend: what they say and what the latest one found."""

    backend: str
    check: HealthCheck
    health: Health
    reason: str
    since: datetime
    last_run: datetime | None
    last_passed: bool | None
    last_seconds: float | None
    passes: int
    failures: int


@dataclass(frozen=True, slots=True)
class BackendStatsView:
    """Counters of one backend; `bytes` are of frames as they came in, Ethernet included."""

    backend: str
    packets: int
    bytes: int
    new_flows: int


@dataclass(frozen=True, slots=True)
class VipStatsView:
    """Counters of one VIP and its backends; `at_risk` are packets that no record could place, `records` those made."""

    vip: str
    packets: int
    bytes: int
    new_flows: int
    at_risk: int
    records: int
    backends: tuple[BackendStatsView, ...]


@dataclass(frozen=True, slots=True)
class FlowTableView:
    """The flow table: records of open flows as of their latest count, how many fit, and the memory that takes.

    `evicted` are the records thrown out since the daemon started because the table was full.
    """

    used: int
    capacity: int
    bytes: int
    evicted: int


@dataclass(frozen=True, slots=True)
class StatsView:
    """All counters. `drops`, `passes` and `answers` are packets by reason, such as `no_backend`."""

    vips: tuple[VipStatsView, ...]
    drops: Mapping[str, int]
    passes: Mapping[str, int]
    answers: Mapping[str, int]
    flow_table: FlowTableView


@dataclass(frozen=True, slots=True)
class UseView:
    """How much of a map is in use."""

    used: int
    capacity: int


@dataclass(frozen=True, slots=True)
class DataplaneView:
    """The data plane as loaded: NICs with program ids, map layout version, features, and how full its maps are."""

    layout: int
    features: Features
    capacity: Capacity
    attachments: tuple[Attachment, ...]
    vips: UseView
    backends: UseView
    flows: FlowTableView


@dataclass(frozen=True, slots=True)
class StatusView:
    """The whole host on one page. `last_error` is a sentence, empty when the data plane has what was asked."""

    version: str
    started: datetime
    generation: int
    observed_generation: int
    attachments: tuple[Attachment, ...]
    vips: tuple[VipView, ...]
    flows: FlowTableView
    last_error: str
