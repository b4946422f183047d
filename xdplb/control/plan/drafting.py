# SPDX-License-Identifier: Apache-2.0
"""Makes the drafts of VIPs, each from the one before.

A failed check or a new weight concerns one backend among thousands. So a draft reuses the parts of the previous draft
that were made from the same objects, and where it is known which backends to look at, only these are looked at. This
only makes it faster; the result is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from operator import attrgetter
from sys import intern

from xdplb.balance.ramp import Newcomer
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.backend_entries import backend_entry, load_weight
from xdplb.control.plan.drafts import BackendDraft, HostSide, TableSource, VipDraft
from xdplb.control.plan.eligibility import Eligibility, Observed, Use, assess_by_rule, look_at, rule_for, under
from xdplb.control.plan.newcomers import (
    at_another_step,
    newcomers_of,
    next_step_of,
    of_table,
    ramps_at_start,
    ramps_now,
    tell_of,
)
from xdplb.control.plan.operating import is_asked
from xdplb.control.plan.policies import Tally
from xdplb.control.plan.weights import weight_of
from xdplb.control.state.differing import differing, without
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.needs import needs_of
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.backend import BackendRole, Health

__all__ = ["draft"]

_ID = attrgetter("id")


def draft(
    vip: BoundVip,
    observed: Observed,
    held: Mapping[int, BackendEntry],
    before: VipDraft | None,
    seen: AbstractSet[int] | None = None,
) -> VipDraft:
    """Return the draft of `vip`. `held` are the backends in the maps: a correct entry there is used as it is.

    If `seen` is given, something new was observed, since the draft `before`, only about the backends with these ids.
    """
    if before is not None and seen is not None and _goes_on(before, vip, observed):
        return _changed_draft(vip, observed, held, before, seen)
    return _whole_draft(vip, observed, held, before)


def _whole_draft(
    vip: BoundVip, observed: Observed, held: Mapping[int, BackendEntry], before: VipDraft | None
) -> VipDraft:
    eligibility, rule = assess_by_rule(vip, observed)
    out = frozenset([key for key, standing in eligibility.items() if standing.use is not Use.SERVING])
    kept = frozenset([key for key, standing in eligibility.items() if standing.use is not Use.OUT])
    lost = frozenset(_lost(eligibility, observed))
    if before is None:
        ramps = ramps_at_start(vip, eligibility, observed)
    else:
        ramps = ramps_now(vip, eligibility, observed, before, before.backends.keys() - eligibility.keys())
    coming = newcomers_of(vip, ramps, observed, out, rule)
    tell_of(coming, eligibility)
    known: Mapping[int, BackendDraft] = {}
    if before is not None and _has_entries_alike(before, vip, observed):
        known = before.backends
    backends: dict[int, BackendDraft] = {}
    for bound in vip.backends.values():
        backends[bound.id] = _backend(
            *(vip, bound, eligibility[bound.id], observed),
            (coming.get(bound.id), held.get(bound.id), known.get(bound.id)),
        )
    configured = tuple(backends[backend_id].weighted for backend_id in sorted(backends))
    return VipDraft(
        vip,
        HostSide.of(observed),
        backends,
        eligibility,
        TableSource(vip.vip.scheduler, configured, out, kept, of_table(vip, coming), lost),
        frozenset([bound.id for bound in vip.backends.values() if is_asked(bound.backend)]),
        frozenset([bound.id for bound in vip.backends.values() if bound.backend.max_new_flows]),
        rule,
        Tally.of(standing.traits for standing in eligibility.values()),
        ramps,
        coming,
        next_step_of(vip, coming, observed),
    )


def _goes_on(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether nothing but backends can differ from the draft before, and each can be looked at by itself."""
    return _asked(before.vip) == _asked(vip) and before.host == HostSide.of(observed)


def _asked(vip: BoundVip) -> tuple[object, ...]:
    """Return the settings of a VIP on which all its backends depend."""
    one = vip.vip
    return (
        *(vip.id, one.key, one.forward, one.scheduler, one.vlan, one.nat_direct, vip.checks),
        *(one.on_unhealthy, one.all_unhealthy, one.min_serving, one.panic_share, one.slow_start_seconds),
    )


def _changed_draft(
    vip: BoundVip,
    observed: Observed,
    held: Mapping[int, BackendEntry],
    before: VipDraft,
    seen: AbstractSet[int],
) -> VipDraft:
    """Return the draft made from the one before: what is not seen anew and has not changed costs nothing."""
    difference = differing(before.vip.backends, vip.backends)
    gone = {before.vip.backends[address].id for address in difference.past}
    given = {vip.backends[address].id: vip.backends[address] for address in difference.present}
    replaced = gone | given.keys()
    touched = dict(given)
    for number in seen - gone:
        known = before.backends.get(number)
        if known is not None and vip.backends.get(known.bound.backend.address) is known.bound:
            touched[number] = known.bound
    looks = {number: look_at(vip, bound, observed) for number, bound in touched.items()}
    past = [before.eligibility[number].traits for number in gone | touched.keys() if number in before.eligibility]
    tally = before.tally.after(past, [look.traits for look in looks.values()])
    anew = gone | looks.keys()
    others = ((number, each) for number, each in before.eligibility.items() if number not in anew)
    rule = rule_for(vip, tally, chain(others, looks.items()), observed)
    by_rule: set[int] = set()
    for masks in rule.changed_for(before.rule):
        for number, standing in before.eligibility.items():
            if standing.traits & masks == masks and number not in anew:
                by_rule.add(number)
                bound = touched[number] = before.backends[number].bound
                is_let_in = rule.lets_in(standing.traits, observed.health.get(number))
                looks[number] = standing if is_let_in else look_at(vip, bound, observed)
    eligibility = {number: under(rule, looks[number], bound, observed) for number, bound in touched.items()}
    gone -= touched.keys()
    serving = {number for number, standing in eligibility.items() if standing.use is Use.SERVING}
    keeping = {number for number, standing in eligibility.items() if standing.use is not Use.OUT}
    source = before.table
    out = (source.out - gone - serving) | (touched.keys() - serving)
    kept = (source.kept - gone - (touched.keys() - keeping)) | keeping
    lost = (source.lost - gone - touched.keys()) | _lost(eligibility, observed)
    ramps = ramps_now(vip, eligibility, observed, before, gone)
    coming = newcomers_of(vip, ramps, observed, out, rule)
    stepping = at_another_step(before.newcomers, coming)
    for number in stepping - gone - touched.keys():
        bound = before.backends[number].bound
        look = look_at(vip, bound, observed)
        if look.traits == before.eligibility[number].traits:  # else it is seen in the next draft, with all that follows
            touched[number], looks[number], eligibility[number] = bound, look, under(rule, look, bound, observed)
    tell_of(coming, eligibility)
    # By another rule hundreds may be used in another way at once: of them, nothing else has changed.
    by_rule -= stepping
    made = {number: before.backends[number].used(eligibility[number].use) for number in by_rule}
    whole = touched.keys() - by_rule
    for number in whole:
        made[number] = _backend(
            *(vip, touched[number], eligibility[number], observed),
            (coming.get(number), held.get(number), before.backends.get(number)),
        )
    table = TableSource(
        vip.vip.scheduler,
        _with_weights(source.configured, gone, {number: made[number].weighted for number in whole}),
        out,
        kept,
        of_table(vip, coming),
        lost,
    )
    return VipDraft(
        vip,
        before.host,
        without(before.backends, gone) | made,
        without(before.eligibility, gone) | eligibility,
        table,
        _after(before.asked, replaced, [n for n, bound in given.items() if is_asked(bound.backend)]),
        _after(before.limited, replaced, [n for n, bound in given.items() if bound.backend.max_new_flows]),
        rule,
        # Not that from which the rule was made: more may have been looked at since, and found to be otherwise.
        before.tally.after(
            [before.eligibility[number].traits for number in gone | touched.keys() if number in before.eligibility],
            [look.traits for look in looks.values()],
        ),
        ramps,
        coming,
        next_step_of(vip, coming, observed),
        changed=frozenset(gone | made.keys()),
    )


def _lost(eligibility: Mapping[int, Eligibility], observed: Observed) -> AbstractSet[int]:
    """Return which backends have failed here, but were well before, as they may still be for other balancers."""
    if not observed.has_peers:
        return set()
    failed = (
        number
        for number, standing in eligibility.items()
        if standing.use is Use.OUT and (standing.about_check or not standing.reachable)
    )
    return {n for n in failed if (known := observed.health.get(n)) and (known.was_up or known.health is Health.UP)}


def _after(before: frozenset[int], lost: AbstractSet[int], got: Iterable[int]) -> frozenset[int]:
    """Return these ids without some and with others; the same if it is only that something else was observed."""
    return before.difference(lost).union(got) if lost else before


def _with_weights(
    configured: tuple[WeightedBackend, ...], gone: AbstractSet[int], given: Mapping[int, WeightedBackend]
) -> tuple[WeightedBackend, ...]:
    """Return the backends of a table, by id, without those that are gone and with those that are given."""
    found = list(configured)
    for number in gone:
        del found[bisect_left(found, number, key=_ID)]
    for number, weighted in given.items():
        place = bisect_left(found, number, key=_ID)
        if place < len(found) and found[place].id == number:
            found[place] = weighted
        else:
            found.insert(place, weighted)
    return tuple(found)


def _has_entries_alike(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether everything else that backend entries depend on, beside the backend itself, is unchanged."""
    old, new, host = before.vip.vip, vip.vip, before.host
    return (
        *(before.vip.id, old.forward, old.scheduler, old.vlan, old.slow_start_seconds, old.nat_direct),
        *(before.vip.has_agents, host.tunnel_sources, host.sources),
    ) == (
        *(vip.id, new.forward, new.scheduler, new.vlan, new.slow_start_seconds, new.nat_direct),
        *(vip.has_agents, observed.tunnel_sources, observed.sources),
    )


def _backend(
    vip: BoundVip,
    bound: BoundBackend,
    standing: Eligibility,
    observed: Observed,
    present: tuple[Newcomer | None, BackendEntry | None, BackendDraft | None],
) -> BackendDraft:
    """Return a backend's draft.

    `present`: how far it is if it ramps up; its entry in the maps and the draft before, each used where it is right.
    """
    newcomer, held, before = present
    weight = weight_of(vip, bound, observed.health.get(bound.id))
    load = load_weight(vip, weight, newcomer)
    if (
        before is not None
        and (before.weighted.weight, before.entry.weight) == (weight, load)
        and _is_of(before, bound, observed)
    ):
        return before.used(standing.use)
    backend, entry = bound.backend, backend_entry(vip, bound, standing, observed, load)
    in_reserve = backend.role is BackendRole.BACKUP
    weighted = WeightedBackend(intern(str(backend.address)), bound.id, weight, in_reserve)
    return BackendDraft(
        bound,
        observed.next_hop(backend.address),
        observed.path_mtu(backend.address),
        held if held is not None and held == entry else entry,
        before.weighted if before is not None and before.weighted == weighted else weighted,
        needs_of(backends=(entry,)),
    )


def _is_of(present: BackendDraft, bound: BoundBackend, observed: Observed) -> bool:
    """Return whether a draft was made from what there is of a backend now, whatever that is used for."""
    return (
        present.bound is bound
        and present.resolution is observed.next_hop(bound.backend.address)
        and present.path_mtu == observed.path_mtu(bound.backend.address)
    )
