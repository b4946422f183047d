"""The manager's answers: views of what is asked for and of what is so. Nothing here changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from xdplb import __version__
from xdplb.control.answers import render
from xdplb.control.answers.flow_memory import flow_table_bytes
from xdplb.control.answers.metrics import MetricsView, Moment, metrics_view
from xdplb.control.answers.views import (
    AccessView,
    BackendView,
    CheckView,
    DataplaneView,
    FlowTableView,
    StatsView,
    StatusView,
    UseView,
    VipStatsView,
    VipView,
)
from xdplb.control.edits.find import find_backend, find_vip
from xdplb.control.flows.counters import Counted
from xdplb.control.health.checks import HealthSource
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.writing.change import Change
from xdplb.control.writing.flow_watch import FlowWatch
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import LAYOUT_VERSION
from xdplb.dataplane.plane import DataPlane
from xdplb.model.health import HealthCheck

__all__ = ["Reader"]


class Reader:
    """Reads the writer's state. What does not say `async` answers from memory, at once.

    A `ref` names a VIP, by its name or its key in either spelling; NotFoundError when there is none.
    """

    def __init__(
        self,
        plane: DataPlane,
        writer: Writer,
        flows: FlowWatch,
        checker: HealthSource | None,
        now: Callable[[], datetime],
    ) -> None:
        self._plane, self._writer, self._flows, self._checker, self._now = plane, writer, flows, checker, now
        self._started = now()
        self._is_running = False

    def vips(self) -> list[VipView]:
        """Return all VIPs."""
        facts = self._facts()
        return [render.vip_view(record, facts) for record in self._state.vips.values()]

    def vip(self, ref: str) -> VipView:
        """Return a VIP."""
        return render.vip_view(find_vip(self._state, ref), self._facts())

    def backends(self, ref: str) -> list[BackendView]:
        """Return a VIP's backends."""
        vip, facts = find_vip(self._state, ref), self._facts()
        return [self._backend_view(vip, record, facts) for record in vip.backends.values()]

    def backend(self, ref: str, address: str) -> BackendView:
        """Return one backend of a VIP; NotFoundError when it has none with this address."""
        vip = find_vip(self._state, ref)
        return self._backend_view(vip, find_backend(vip, address), self._facts())

    def health_check(self, ref: str) -> HealthCheck | None:
        """Return a VIP's health check, None when its backends are not checked."""
        return find_vip(self._state, ref).check

    def access(self, ref: str) -> AccessView:
        """Return a VIP's access list, an empty one where everybody may."""
        record = find_vip(self._state, ref)
        return AccessView(record.access, record.generation)

    def checks(self, ref: str) -> list[CheckView]:
        """Return what the checks of a VIP's backends found; empty when they are not checked."""
        vip = find_vip(self._state, ref)
        if vip.check is None:
            return []
        return [self._check_view(vip, record) for record in vip.backends.values()]

    async def stats(self) -> StatsView:
        """Read all counters."""
        counted = await self._counted()
        return render.stats_view(self._state, counted, self._flow_table())

    async def vip_stats(self, ref: str) -> VipStatsView:
        """Read the counters of a VIP and its backends."""
        find_vip(self._state, ref)
        counted = await self._counted()
        return render.vip_stats_view(find_vip(self._state, ref), counted)

    async def metrics(self) -> MetricsView:
        """Return all that is measured; the counters are read once, and the view is made beside the event loop."""
        counted = await self._counted()
        facts, applier = self._facts(), self._writer.applier
        moment = Moment(
            state=self._state,
            counted=counted,
            facts=replace(facts, health=dict(facts.health)),
            checks={} if self._checker is None else self._checker.records(),
            flow_table=self._flow_table(),
            flow_counts=self._flows.counts,
            attachments=applier.attachments,
            now=self._now(),
        )
        return await asyncio.to_thread(metrics_view, moment)

    def dataplane(self) -> DataplaneView:
        """Return the data plane as loaded. NICs and flow records are as of their latest count, seconds ago."""
        capacity, (vips, backends) = self._plane.capacity, self._writer.applier.used
        return DataplaneView(
            layout=LAYOUT_VERSION,
            features=self._writer.applier.features,
            capacity=capacity,
            attachments=self._writer.applier.attachments,
            vips=UseView(vips, capacity.vips),
            backends=UseView(backends, capacity.backends),
            flows=self._flow_table(),
        )

    def status(self) -> StatusView:
        """Return the whole host on one page."""
        return StatusView(
            version=__version__,
            started=self._started,
            generation=self._state.generation,
            observed_generation=self._writer.observed.generation,
            attachments=self._writer.applier.attachments,
            vips=tuple(self.vips()),
            flows=self._flow_table(),
            last_error=self._writer.last_error,
        )

    def not_ready(self) -> list[str]:
        """Return why traffic may not be balanced as asked, a sentence each; nothing when all is well."""
        if not self._is_running:
            return ["the control plane is not running"]
        reasons = []
        if not self._writer.applier.attachments:
            reasons.append("the program is on no NIC")
        if self._writer.last_error:
            reasons.append(f"the data plane does not hold what was asked: {self._writer.last_error}")
        return reasons

    async def _counted(self) -> Counted:
        applier = self._writer.applier
        return await self._writer.read_maps(lambda: Counted(self._plane.counters(), applier.known))

    def _flow_table(self) -> FlowTableView:
        capacity, applier = self._plane.capacity.flows, self._writer.applier
        with_ipv6 = Feature.IPV6 in applier.features
        return FlowTableView(
            used=self._flows.records,
            capacity=capacity * (2 if with_ipv6 else 1),
            bytes=flow_table_bytes(capacity, with_ipv6=with_ipv6),
            evicted=applier.evictions.evicted,
        )

    @property
    def _state(self) -> Snapshot:
        return self._writer.state

    def _facts(self, done: Change | None = None) -> render.Facts:
        """Return what is known now; of backends that are gone since `done`, what was known then."""
        applier, health = self._writer.applier, self._writer.health
        if done is not None:
            health = {**done.health, **health}
        return render.Facts(self._writer.observed, health, applier.eligibility, applier.facts)

    def _backend_view(self, vip: BoundVip, record: BoundBackend, facts: render.Facts) -> BackendView:
        return render.backend_view(
            vip,
            record,
            facts,
            next_hop=self._writer.resolution(record.backend.address).next_hop,
            flows=self._flows.of(record),
            drain=self._flows.drain(record),
        )

    def _check_view(self, vip: BoundVip, record: BoundBackend) -> CheckView:
        result = None if self._checker is None else self._checker.record(record.id)
        return render.check_view(vip, record, self._writer.health[record.id], result)
