# SPDX-License-Identifier: Apache-2.0
"""Preparing a change: it is checked and forecast, and who would lose by it is looked up. Nothing changes yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import Batch, Edit, PutConfig
from xdplb.control.edits.precondition import check_precondition
from xdplb.control.flows.drain import FlowCounts
from xdplb.control.health.book import HealthBook
from xdplb.control.health.known import health_after
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.forecast import Forecast
from xdplb.control.plan.host_concerns import over_own_addresses, socket_concerns
from xdplb.control.plan.impact import UNKNOWN_IMPACT, Impact
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.touched import Touched, touched
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.commands_allowed import refuse_commands
from xdplb.control.writing.dirty import Dirty
from xdplb.control.writing.host_watch import HostWatch
from xdplb.control.writing.request import Outcome, Request
from xdplb.control.writing.risk_finder import RiskFinder
from xdplb.control.writing.threads import Worker
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import PlatformError
from xdplb.model.host import Host
from xdplb.model.vip import VipKey
from xdplb.net.next_hops import NextHopSource

__all__ = ["Prepared", "Preparer"]


class Prepared(NamedTuple):
    """What it takes to make a change: its forecast, None if the maps cannot be read, and the health that it sets.

    `changes` is what it does to VIPs and backends, `about` the ids of these VIPs.
    """

    forecast: Forecast | None
    health: dict[int, KnownHealth]
    changes: list[Touched]
    about: frozenset[int]


class Preparer:
    """Prepares changes, one at a time. It reads the maps in their thread, `maps`, and keeps nothing."""

    def __init__(
        self,
        applier: Applier,
        maps: Worker,
        health: HealthBook,
        next_hops: NextHopSource,
        host: HostWatch,
        *,
        risks: RiskFinder,
        capacity: Capacity,
        recorded_flows: Callable[[], FlowCounts | None],
        observe: Callable[[Snapshot, Mapping[int, KnownHealth]], Observed],
        runs_commands: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._applier, self._maps, self._health = applier, maps, health
        self._next_hops, self._host, self._risks = next_hops, host, risks
        self._capacity, self._recorded_flows = capacity, recorded_flows
        self._observe, self._now, self._runs_commands = observe, now, runs_commands

    async def prepare(self, before: Snapshot, request: Request, dirty: Dirty) -> tuple[Outcome, Prepared | None]:
        """Return the outcome of a change and what is needed to make it; None if nothing changes.

        VIPs that are `dirty` are planned with it; those that the change touches are added to `dirty`.
        """
        check_precondition(request.edit, before.generations, request.if_match)
        foreseen, known = await self._foreseen(before, request), self._health.known
        if foreseen is None:
            return Outcome(before=before, after=before, health=dict(known)), None
        after, changes = foreseen
        if not self._runs_commands:
            refuse_commands(changes)
        prepared = await self._forecast(before, after, changes, dirty, dry_run=request.dry_run)
        forecast, health = prepared.forecast, {**known, **prepared.health}
        impact = UNKNOWN_IMPACT if forecast is None else await self._with_risks(forecast, prepared.about)
        if over := over_own_addresses([each.key for each in changes if each.before is None], self._next_hops.host()):
            impact = await self._with_own_services(impact, over)
        return Outcome(before=before, after=after, health=health, impact=impact), prepared

    async def prepare_given(self, before: Snapshot, after: Snapshot, dirty: Dirty) -> tuple[Outcome, Prepared]:
        """Return the outcome of a change that is decided already, as `prepare` does, and what is needed to make it."""
        prepared = await self._forecast(before, after, touched(before, after), dirty)
        impact = UNKNOWN_IMPACT if prepared.forecast is None else prepared.forecast.impact
        health = {**self._health.known, **prepared.health}
        return Outcome(before=before, after=after, health=health, impact=impact), prepared

    async def _forecast(
        self, before: Snapshot, after: Snapshot, changes: list[Touched], dirty: Dirty, *, dry_run: bool = False
    ) -> Prepared:
        known = self._health.known
        changed = health_after(changes, known, self._now())
        about = dirty.note(changes)
        dirty.everything |= self._host.sends_otherwise(before, after)
        only, seen = dirty.only, dirty.seen
        observed, counts = self._observe(after, {**known, **changed}), self._recorded_flows()
        flows = None if counts is None else counts.by_backend
        forecast = None
        try:
            forecast = await self._maps(
                lambda: self._applier.forecast(before, after, observed, only=only, seen=seen, about=about, flows=flows)
            )
        except PlatformError:
            # The maps cannot be read. What was asked for can be saved all the same: bringing the maps to it is retried.
            if dry_run:
                raise
        return Prepared(forecast, changed, changes, about)

    async def _foreseen(self, before: Snapshot, request: Request) -> tuple[Snapshot, list[Touched]] | None:
        """Return the state after a change, and what it does to VIPs and backends; None if nothing changes."""
        at, host = request.at or self._now(), self._next_hops.host()
        work = partial(_after, before, request.edit, at, host, self._capacity)
        # Of thousands of VIPs it takes a tenth of a second, in which checks go on.
        return await self._maps(work) if isinstance(request.edit, PutConfig | Batch) else work()

    async def _with_risks(self, forecast: Forecast, about: AbstractSet[int]) -> Impact:
        """Return the impact with the connections at risk, and warnings about those that break."""
        now = self._now()
        if not forecast.exposed and self._risks.has_room(forecast, now):
            return forecast.impact
        looked = await self._maps(lambda: self._risks.look(forecast, about, now))
        return self._risks.found(forecast.impact, looked, self._now())

    async def _with_own_services(self, impact: Impact, over: Sequence[VipKey]) -> Impact:
        """Return the impact with warnings about services of this host's own that these VIPs take the packets of."""
        sockets = await asyncio.to_thread(self._next_hops.sockets)
        concerns = tuple(socket_concerns(over, self._next_hops.host(), sockets))
        return replace(impact, warnings=(*impact.warnings, *concerns))


def _after(
    before: Snapshot, edit: Edit, at: datetime, host: Host, capacity: Capacity
) -> tuple[Snapshot, list[Touched]] | None:
    desired = apply_edit(before.desired, edit, at, host)
    if desired is before.desired or desired == before.desired:
        return None
    after = before.then(desired, capacity)
    return after, touched(before, after)
