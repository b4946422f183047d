"""From records and what is known of them to views: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdplb.balance.slots import SlotCounts
from xdplb.control.answers.views import (
    BackendStatsView,
    BackendView,
    CheckView,
    DrainState,
    DrainView,
    FlowTableView,
    OperatingStatus,
    SlotsView,
    StatsView,
    VipStatsView,
    VipView,
)
from xdplb.control.flows.counters import Counted
from xdplb.control.health.checks import CheckTally
from xdplb.control.plan.eligibility import DRAINING, Eligibility, Use
from xdplb.control.state.snapshot import BoundBackend, BoundVip, KnownHealth, Snapshot
from xdplb.control.writing.applier import TableFacts
from xdplb.dataplane.plane import Counters
from xdplb.model.backend import AdminState, Health
from xdplb.model.next_hop import NextHop

__all__ = ["Facts", "backend_view", "check_view", "stats_view", "vip_stats_view", "vip_view"]

_NO_TABLE = TableFacts(SlotCounts(0, 0, 0), {})
_CHECKED_NEVER = CheckTally(Health.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment: what the maps hold in full (`observed`), health, eligibility and tables."""

    observed: Snapshot
    health: Mapping[int, KnownHealth]
    eligibility: Mapping[int, Eligibility]
    tables: Mapping[int, TableFacts]


def vip_view(record: BoundVip, facts: Facts) -> VipView:
    """Return the view of a VIP."""
    seen = facts.observed.vips.get(record.vip.key)
    table = facts.tables.get(record.id, _NO_TABLE).counts
    serving = [backend for backend in record.backends.values() if _serves(backend, facts)]
    return VipView(
        vip=record.vip,
        generation=record.generation,
        observed_generation=seen.generation if seen is not None and seen.id == record.id else 0,
        operating_status=_operating_status(record, len(serving)),
        slots=SlotsView(table.steady, table.moving, table.pinned),
        backends=len(record.backends),
        backends_serving=len(serving),
        allowed=len(record.access.allow),
        denied=len(record.access.deny),
    )


def backend_view(
    vip: BoundVip,
    record: BoundBackend,
    facts: Facts,
    *,
    next_hop: NextHop | None,
    flows: int | None,
    drain: DrainView | None,
) -> BackendView:
    """Return the view of a backend."""
    known = facts.health[record.id]
    standing = facts.eligibility.get(record.id)
    return BackendView(
        backend=record.backend,
        forward=vip.forward_of(record.backend),
        generation=record.generation,
        observed_generation=_observed_generation(vip, record, facts),
        health=known.health,
        reason=_reason(standing.reason if standing is not None else known.reason, drain),
        since=known.since,
        share=facts.tables.get(vip.id, _NO_TABLE).shares.get(record.id, 0.0),
        flows=flows,
        mac=next_hop.destination_mac.hex(":") if next_hop is not None else None,
        interface=next_hop.interface if next_hop is not None else None,
        drain=drain,
    )


def _reason(reason: str, drain: DrainView | None) -> str:
    """Return the reason with what has come of the drain, where that is the reason."""
    if reason != DRAINING or drain is None or drain.state is DrainState.DRAINING:
        return reason
    if drain.state is DrainState.DRAINED:
        return "drained"
    return f"drain timed out, {'an unknown number' if drain.flows is None else drain.flows or 'none'} left"


def check_view(vip: BoundVip, record: BoundBackend, known: KnownHealth, result: CheckTally | None) -> CheckView:
    """Return the view of a backend's checks, of a VIP that has a check."""
    assert vip.check is not None
    result = result or _CHECKED_NEVER
    return CheckView(
        backend=str(record.backend.address),
        check=vip.check,
        health=known.health,
        reason=result.last.reason if result.last is not None else known.reason,
        since=known.since,
        last_run=result.last_run,
        last_passed=result.last.passed if result.last is not None else None,
        last_seconds=result.last.seconds if result.last is not None else None,
        passes=result.passes,
        failures=result.failures,
    )


def vip_stats_view(record: BoundVip, counted: Counted) -> VipStatsView:
    """Return the counters of a VIP and its backends."""
    total = counted.of_vip(record)
    backends = tuple(
        BackendStatsView(str(address), part.packets, part.bytes, part.new_flows)
        for address, backend in record.backends.items()
        for part in (counted.of_backend(backend),)
    )
    return VipStatsView(
        *(str(record.vip.key), total.packets, total.bytes, total.new_flows, total.at_risk, total.records), backends
    )


def stats_view(state: Snapshot, counted: Counted, flow_table: FlowTableView) -> StatsView:
    """Return all counters."""
    return StatsView(
        vips=tuple(vip_stats_view(record, counted) for record in state.vips.values()),
        drops=_reasons(counted.counters, "drop_"),
        passes=_reasons(counted.counters, "pass_"),
        answers=_reasons(counted.counters, "answer_"),
        flow_table=flow_table,
    )


def _reasons(counters: Counters, kind: str) -> dict[str, int]:
    return {reason.removeprefix(kind): n for reason, n in counters.reasons.items() if reason.startswith(kind)}


def _serves(record: BoundBackend, facts: Facts) -> bool:
    """Return whether a backend takes new connections because it is well, not because all others failed too."""
    standing = facts.eligibility.get(record.id)
    return standing is not None and standing.use is Use.SERVING and facts.health[record.id].health is Health.UP


def _operating_status(record: BoundVip, serving: int) -> OperatingStatus:
    if not record.backends:
        return OperatingStatus.NO_BACKEND
    if not serving:
        return OperatingStatus.OFFLINE
    asked = sum(
        1
        for backend in record.backends.values()
        if backend.backend.admin_state is AdminState.READY and backend.backend.weight
    )
    return OperatingStatus.ONLINE if serving >= asked else OperatingStatus.DEGRADED


def _observed_generation(vip: BoundVip, record: BoundBackend, facts: Facts) -> int:
    seen_vip = facts.observed.vips.get(vip.vip.key)
    seen = seen_vip.backends.get(record.backend.address) if seen_vip is not None else None
    return seen.generation if seen is not None and (seen.id, seen.epoch) == (record.id, record.epoch) else 0
