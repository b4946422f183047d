# SPDX-License-Identifier: Apache-2.0
"""Making views from the snapshot and the facts known about it: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xdplb.balance.held_table import NO_TABLE, HeldTable
from xdplb.balance.slots import SlotCounts
from xdplb.control.answers.views import (
    BackendStatsView,
    BackendView,
    CheckView,
    DnsAddressView,
    DnsNameView,
    DnsView,
    EjectionView,
    FlowTableView,
    SlotsView,
    StatsView,
    VipStatsView,
    VipView,
)
from xdplb.control.flows.counters import Counted
from xdplb.control.flows.drain import DrainState, DrainView
from xdplb.control.health.passive.ejections import Ejection
from xdplb.control.health.tally import CheckTally
from xdplb.control.plan.dns_wishes import place_of
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.eligibility import DRAINING, Eligibility, held_words
from xdplb.control.plan.operating import OperatingStatus, VipStanding, is_asked, needed_of
from xdplb.control.plan.policies import NO_RULE, Rule, backup_words, rule_words
from xdplb.control.plan.weights import effective_weight
from xdplb.control.state.certificate import Certificate
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.writing.announce_watch import Announcement
from xdplb.control.writing.dns_keeper import AddressStanding
from xdplb.control.writing.passive_watch import PassiveView
from xdplb.control.writing.path_watch import PathView
from xdplb.dataplane.plane import Counters
from xdplb.dns.records import Found, Place
from xdplb.model.address import IPAddress, IPNetwork, address_order
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck, asked_of, labels_of
from xdplb.model.next_hop import NextHop
from xdplb.model.vip import Announce, Vip

__all__ = ["Facts", "backend_view", "check_view", "dns_name_views", "stats_view", "vip_stats_view", "vip_view"]

_NO_SLOTS = SlotCounts(0, 0, 0)
_NOT_LOOKED_AT = Announcement(None, "it has just been asked for")
_GONE = KnownHealth(Health.UNKNOWN, "it has just been removed", datetime.fromtimestamp(0, UTC))


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one moment: the snapshot that the maps hold (`applied`), health, eligibility, tables and drafts.

    `nics_carry`: every NIC that is asked for carries packets. `announced` is of the addresses of VIPs that ask for a
    route, `dns` of those with a name. `now` is that moment; the wall clock is `ahead` of it.
    """

    applied: Snapshot
    health: Mapping[int, KnownHealth]
    eligibility: Mapping[int, Eligibility]
    tables: Mapping[int, HeldTable]
    drafts: Mapping[int, VipDraft]
    nics_carry: bool
    dns: Mapping[tuple[Place, IPAddress], AddressStanding]
    ahead: timedelta
    now: datetime
    announced: Mapping[IPNetwork, Announcement]

    def rule_of(self, vip: BoundVip) -> Rule:
        """Return the rule by which the backends of a VIP serve."""
        draft = self.drafts.get(vip.id)
        return NO_RULE if draft is None else draft.rule

    def health_of(self, backend: BoundBackend) -> KnownHealth:
        """Return the health of a backend; unknown for one that has been removed while the answer is made."""
        return self.health.get(backend.id, _GONE)

    def standing_of(self, vip: BoundVip) -> VipStanding:
        """Return how a VIP stands. While the maps do not have it yet, none of its backends serves."""
        draft = self.drafts.get(vip.id)
        if draft is not None and draft.vip.vip.key == vip.vip.key:
            return draft.standing(nics_carry=self.nics_carry)
        asked = sum(is_asked(backend.backend) for backend in vip.backends.values())
        status = OperatingStatus.OFFLINE if vip.backends else OperatingStatus.NO_BACKEND
        return VipStanding(0, needed_of(vip.vip.min_serving, asked), status)


def vip_view(vip: BoundVip, facts: Facts) -> VipView:
    """Return the view of a VIP."""
    seen = facts.applied.vips.get(vip.vip.key)
    table = facts.tables.get(vip.id)
    slots = _NO_SLOTS if table is None else table.counts
    standing = facts.standing_of(vip)
    return VipView(
        vip=vip.vip,
        generation=vip.generation,
        observed_generation=seen.generation if seen is not None and seen.id == vip.id else 0,
        operating_status=standing.status,
        slots=SlotsView(slots.steady, slots.moving, slots.pinned),
        backends=len(vip.backends),
        backends_serving=standing.serving,
        backends_needed=standing.needed,
        reason=rule_words(facts.rule_of(vip), vip.vip),
        announced=_announcement_of(vip, facts),
        allowed=len(vip.access.allow),
        denied=len(vip.access.deny),
        dns=_dns_view(vip.vip, facts),
    )


def _announcement_of(vip: BoundVip, facts: Facts) -> Announcement | None:
    """Return whether the route of a VIP's address is there, None if it asks for none."""
    if vip.vip.announce is Announce.NEVER:
        return None
    return facts.announced.get(vip.vip.key.network, _NOT_LOOKED_AT)


def _dns_view(vip: Vip, facts: Facts) -> DnsView | None:
    place = place_of(vip)
    if place is None:
        return None
    found = facts.dns.get((place, vip.key.address))
    if found is None:
        return DnsView(None, facts.now + facts.ahead, "the name has not been looked at yet", is_behind=False)
    return _standing_view(found, facts.ahead)


def _standing_view(found: AddressStanding, ahead: timedelta) -> DnsView:
    return DnsView(found.standing, found.since + ahead, found.reason, found.is_behind)


def dns_name_views(
    found: Mapping[Place, Found], standings: Mapping[tuple[Place, IPAddress], AddressStanding], ahead: timedelta
) -> list[DnsNameView]:
    """Return the views of names that were `found` so, and of those that could not be read yet."""
    places = sorted({*found, *(place for place, _ in standings)}, key=lambda place: (place.name, place))
    return [_dns_name_view(place, found.get(place, Found()), standings, ahead) for place in places]


def _dns_name_view(
    place: Place, found: Found, standings: Mapping[tuple[Place, IPAddress], AddressStanding], ahead: timedelta
) -> DnsNameView:
    here = {address: standing for (each, address), standing in standings.items() if each == place}
    claimed = {claim.address for claim in found.claims}
    views = [
        DnsAddressView(
            address,
            tuple(sorted({claim.node for claim in found.claims_on(address)})),
            found.has(address),
            _standing_view(here[address], ahead) if address in here else None,
        )
        for address in sorted(found.v4.those | found.v6.those | claimed | here.keys(), key=address_order)
    ]
    return DnsNameView(place, tuple(views))


def backend_view(
    vip: BoundVip,
    backend: BoundBackend,
    facts: Facts,
    *,
    next_hop: NextHop | None,
    path: PathView,
    flows: int | None,
    drain: DrainView | None,
    certificate: Certificate | None,
    tallies: Sequence[CheckTally],
    passive: PassiveView,
    is_pending: bool,
) -> BackendView:
    """Return the view of a backend; `tallies` are the results of its checks."""
    known = facts.health_of(backend)
    standing = facts.eligibility.get(backend.id)
    if standing is not None and standing.hold is not None:
        why = held_words(standing.hold, standing.hold.left(facts.now))
    else:
        failure = _last_failure(vip.checks, known.health, tallies)
        why = known.reason if standing is None else _reason(standing, facts.rule_of(vip), drain, failure)
    return BackendView(
        backend=backend.backend,
        forward=vip.forward_of(backend.backend),
        generation=backend.generation,
        observed_generation=_observed_generation(vip, backend, facts),
        health=known.health,
        reason="; ".join(filter(None, (why, path.reason))),
        since=known.since,
        held_until=None if standing is None or standing.hold is None else standing.hold.until,
        effective_weight=effective_weight(vip, backend, known),
        share=facts.tables.get(vip.id, NO_TABLE).shares.get(backend.id, 0.0),
        flows=flows,
        mac=next_hop.destination_mac.hex(":") if next_hop is not None else None,
        interface=next_hop.interface if next_hop is not None else None,
        drain=drain,
        certificate=certificate,
        path=path,
        declared=backend.desired.declared,
        pending=is_pending,
        ejection=_ejection_view(passive.ejection),
        handshakes=passive.latency,
        hint=passive.differs,
    )


def _ejection_view(found: Ejection | None) -> EjectionView | None:
    if found is None:
        return None
    return EjectionView(found.since, found.since + timedelta(seconds=found.seconds), found.times, found.reason)


def _reason(standing: Eligibility, rule: Rule, drain: DrainView | None, failure: str) -> str:
    """Return the reason with what came of it since: why a check failed last, the result of the drain, numbers."""
    if standing.waits_as_backup:
        return backup_words(rule)
    if standing.about_check and failure:
        return standing.about_check.format(failure)
    if standing.reason != DRAINING or drain is None or drain.state is DrainState.DRAINING:
        return standing.reason
    if drain.state is DrainState.DRAINED:
        return "drained"
    return f"drain timed out, {'an unknown number' if drain.flows is None else drain.flows or 'none'} left"


def _last_failure(checks: tuple[HealthCheck, ...], health: Health, tallies: Sequence[CheckTally]) -> str:
    """Return why a check did not pass last, and which one if there are several; empty if all did.

    One that is down comes before one that failed just now. One that could not be run says nothing of a failure.
    """
    failed = [
        (tally.verdict is not Health.DOWN, place, tally.last.reason)
        for place, tally in enumerate(tallies)
        if tally.last is not None and not tally.last.passed and (tally.last.passed is False or health is Health.UNKNOWN)
    ]
    if not failed:
        return ""
    _, place, reason = min(failed)
    return reason if len(checks) == 1 else f"{labels_of(checks)[place]}: {reason}"


def check_view(vip: BoundVip, backend: BoundBackend, known: KnownHealth, place: int, tally: CheckTally) -> CheckView:
    """Return the view of the check of a VIP at `place`, of one of its backends."""
    alone, own = len(vip.checks) == 1, backend.backend
    return CheckView(
        backend=str(own.address),
        check=vip.checks[place],
        asks=asked_of(
            vip.checks[place], vip.vip.key, own.address, vip.forward_of(own), own.check_port, served=own.port
        ),
        health=known.health if alone else tally.verdict,
        reason=tally.last.reason if tally.last is not None else known.reason if alone else "",
        since=known.since,
        last_run=tally.last_run,
        last_passed=tally.last.passed if tally.last is not None else None,
        last_seconds=tally.last.seconds if tally.last is not None else None,
        passes=tally.passes,
        failures=tally.failures,
        recent=tally.recent,
    )


def vip_stats_view(vip: BoundVip, counted: Counted, *, with_backends: bool = True) -> VipStatsView:
    """Return the counters of a VIP and, if asked for, its backends."""
    total = counted.of_vip(vip)
    backends = [
        BackendStatsView(str(address), *counted.of_backend(backend))
        for address, backend in (vip.backends.items() if with_backends else ())
    ]
    return VipStatsView(
        *(str(vip.vip.key), total.packets, total.bytes, total.new_flows, total.at_risk, total.records, total.replies),
        tuple(backends),
    )


def stats_view(
    vips: Iterable[BoundVip], counted: Counted, flow_table: FlowTableView, *, with_backends: bool = True
) -> StatsView:
    """Return the counters of these VIPs, and those of the host."""
    return StatsView(
        vips=tuple(vip_stats_view(vip, counted, with_backends=with_backends) for vip in vips),
        drops=_reasons(counted.counters, "drop_"),
        passes=_reasons(counted.counters, "pass_"),
        answers=_reasons(counted.counters, "answer_"),
        nics=counted.counters.nics,
        unwrapped=counted.counters.unwrapped or 0,
        flow_table=flow_table,
    )


def _reasons(counters: Counters, kind: str) -> dict[str, int]:
    return {reason.removeprefix(kind): n for reason, n in counters.reasons.items() if reason.startswith(kind)}


def _observed_generation(vip: BoundVip, backend: BoundBackend, facts: Facts) -> int:
    seen_vip = facts.applied.vips.get(vip.vip.key)
    seen = seen_vip.backends.get(backend.backend.address) if seen_vip is not None else None
    return seen.generation if seen is not None and (seen.id, seen.epoch) == (backend.id, backend.epoch) else 0
