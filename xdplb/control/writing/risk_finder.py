# SPDX-License-Identifier: Apache-2.0
"""Finding how many connections a change may break: what is exposed, with the counters and records of these backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.flows.drain import FlowCounts
from xdplb.control.flows.risk import Seen, weigh
from xdplb.control.flows.tracked import Tracked
from xdplb.control.flows.traffic import Traffic, breaking
from xdplb.control.plan.exposure import Exposure, without_room
from xdplb.control.plan.forecast import Forecast
from xdplb.control.plan.impact import Cause, Concern, Impact, Risk, Warned
from xdplb.control.plan.sentences import risk_sentence
from xdplb.control.writing.applier import Applier
from xdplb.dataplane.plane import BackendCounters, Capacity, VipCounters

__all__ = ["Looked", "RiskFinder"]

_RECORDS_A_FLOW = 2
"""Records that a new flow of the last idle timeout stands for while slots move: for itself, and for one that follows.

While a slot moves, the connections open until then and those that follow are recorded, until the idle timeout is over.
"""


class Looked(NamedTuple):
    """Whom a change exposes, and the counters of these backends and VIPs, by id."""

    exposed: tuple[Exposure, ...]
    backends: Mapping[int, BackendCounters]
    vips: Mapping[int, VipCounters]


class RiskFinder:
    """Knows what was seen of traffic. `records` is how many records the flow table has."""

    def __init__(
        self,
        traffic: Traffic,
        applier: Applier,
        capacity: Capacity,
        *,
        recorded_flows: Callable[[], FlowCounts | None],
        records: Callable[[], int],
    ) -> None:
        self.tracked = Tracked()
        """Since when VIPs record every flow."""
        self._traffic, self._applier, self._capacity = traffic, applier, capacity
        self._recorded_flows, self._records = recorded_flows, records

    def has_room(self, forecast: Forecast, now: datetime) -> bool:
        """Return whether the flow table has room for the records of slots that move.

        Up to half of an LRU table, records that are in use are not evicted.
        """
        expected, moves = self._records(), False
        for step in forecast.plan.tables:
            vip = forecast.held.vips.get(step.vip_id)
            if vip is not None and (moved := len(step.moved)):
                moves = True
                new_flows = self._traffic.new_flows_within(vip.id, vip.idle_seconds, now)
                expected += _RECORDS_A_FLOW * new_flows * moved // TABLE_SIZE
        return not moves or expected <= self._capacity.flows // 2

    def look(self, forecast: Forecast, about: AbstractSet[int], now: datetime) -> Looked:
        """Return whom a change exposes, with their counters. Called in the thread of the maps."""
        exposed = forecast.exposed
        if not self.has_room(forecast, now):
            exposed += without_room(forecast.done, about, exposed)
        backends = self._applier.packets([each.id for one in exposed for each in one.backends])
        return Looked(exposed, backends, self._applier.vip_packets([one.vip_id for one in exposed if not one.backends]))

    def found(self, impact: Impact, looked: Looked, now: datetime) -> Impact:
        """Return the impact with the connections at risk, and with warnings about those that break."""
        exposed, backends = looked.exposed, looked.backends
        self._traffic.note_some({each.id: backends[each.id] for each in impact.cut_off if each.id in backends}, now)
        complete = {each.vip_id for each in exposed if self._is_recorded(each, now)}
        seen = Seen(now, backends, looked.vips, self._traffic, self._recorded_flows(), complete)
        risks, at_risk = weigh(exposed, seen)
        return replace(
            impact,
            risks=risks,
            at_risk=at_risk,
            warnings=(*breaking(impact.cut_off, self._traffic, now), *impact.warnings, *_warnings(risks)),
        )

    def _is_recorded(self, exposure: Exposure, now: datetime) -> bool:
        """Return whether each open connection of a VIP has a record."""
        was_evicted = self._applier.evictions.evicted
        return not was_evicted and self.tracked.is_complete(exposure.vip_id, exposure.idle_seconds, now)


_WITH_OWN_WARNING = {Cause.CUT_OFF, Cause.HASH, Cause.SCHEDULER}


def _warnings(risks: Iterable[Risk]) -> Iterator[Warned]:
    """Yield a warning for connections at risk that no other warning is about."""
    for risk in risks:
        if risk.cause not in _WITH_OWN_WARNING:
            yield Warned(Concern.AT_RISK, risk.vip, risk.backends, risk_sentence(risk))
