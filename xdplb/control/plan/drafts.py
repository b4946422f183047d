"""Drafts of VIPs, the first half of a plan: their backend entries, and what their tables are built from.

A failed check or a new weight concerns one backend among thousands. So a draft reuses the parts of the previous draft
that were made from the same objects, and where it is known which backends to look at, only these are looked at. This
only makes it faster; the result is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from sys import intern
from typing import NamedTuple

from xdplb.balance.ramp import Newcomer
from xdplb.balance.rotation import candidates
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.backend_entries import backend_entry, load_weight
from xdplb.control.plan.eligibility import Eligibility, Observed, Use, assess_by_rule, look_at, rule_for, under
from xdplb.control.plan.operating import VipStanding, is_asked, needed_of, standing_of
from xdplb.control.plan.policies import Rule, Tally, Traits
from xdplb.control.plan.slow_start import (
    NO_RAMPS,
    Ramps,
    newcomers,
    next_step,
    ramp_words,
    ramps_after,
    ramps_of,
    tick_of,
)
from xdplb.control.plan.sources import Sources
from xdplb.control.plan.weights import weight_of
from xdplb.control.state.differing import differing, without
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.needs import needs_of
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.address import IPNetwork
from xdplb.model.backend import BackendRole, Health
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Scheduler

__all__ = ["BackendDraft", "HostSide", "TableSource", "VipDraft", "draft"]


_ID = attrgetter("id")


_FINGERPRINT_VERSION = 1
"""Goes up whenever the same source gives another table."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """What a table is built from. While it is the same, so is the table, except for slots that settle.

    `out` are the ids that take no new connections, `kept` those that keep their open ones. `newcomers` have a part of
    their share so far.
    """

    scheduler: Scheduler
    configured: tuple[WeightedBackend, ...]
    out: frozenset[int]
    kept: frozenset[int]
    newcomers: tuple[Newcomer, ...] = ()

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that differ wherever the table does: who asks for it later knows the table without computing it.

        It is that of the table whose slots are all steady, for which it makes no difference who is `kept`.
        """
        digest = blake2b(f"{_FINGERPRINT_VERSION} {self.scheduler.value}".encode(), digest_size=16)
        for backend in sorted(self.configured, key=lambda backend: (backend.key, backend.id)):
            digest.update(f"|{backend.key} {backend.weight} {backend.id}".encode())
            if backend.in_reserve:
                digest.update(b" in reserve")
        digest.update(f"|{sorted(self.out)}".encode())
        for newcomer in self.newcomers:
            digest.update(f"|{newcomer.id} {newcomer.since} {newcomer.granted}/{newcomer.of}".encode())
        return digest.digest()

    @property
    def candidates(self) -> int:
        """How many backends are compared, for schedulers that compare all of them; 0 for the others."""
        if not self.scheduler.compares_all:
            return 0
        return candidates(self.configured, self.out)


@dataclass(frozen=True, slots=True, eq=False)
class BackendDraft:
    """A backend's entries for the map and for the table, made from `bound`, `resolution` and `path_mtu`.

    `needs` are the features that the program must have for it.
    """

    bound: BoundBackend
    resolution: Resolution | None
    path_mtu: int | None
    entry: BackendEntry
    weighted: WeightedBackend
    needs: Features

    def used(self, use: Use) -> BackendDraft:
        """Return the draft if the backend is used like this, and nothing else is otherwise."""
        usable, takes_new = use is not Use.OUT, use is Use.SERVING
        if self.entry.usable is usable and self.entry.takes_new is takes_new:
            return self
        entry = self.entry.used(usable=usable, takes_new=takes_new)
        return BackendDraft(self.bound, self.resolution, self.path_mtu, entry, self.weighted, self.needs)


@dataclass(frozen=True, slots=True, eq=False)
class VipDraft:
    """A VIP, its backends and their eligibility by id, and what its table is built from.

    `host` is what was known of the host. `asked` are the ids of the backends that the operator wants to serve all the
    time, `limited` of those that take only so many new connections. `rule` says who serves, which follows from `tally`.
    `ramps` are the backends that came up lately, `newcomers` those of them, by id, that have a part of their share so
    far, and `next_step` is when that changes, None if all have the whole. `changed` are the ids of the backends that
    are not as in the draft before it, among them those that are gone; None if it may be any.
    """

    vip: BoundVip
    host: HostSide
    backends: Mapping[int, BackendDraft]
    eligibility: Mapping[int, Eligibility]
    table: TableSource
    asked: frozenset[int]
    limited: frozenset[int]
    rule: Rule
    tally: Tally
    ramps: Ramps = field(default_factory=dict)
    newcomers: Mapping[int, Newcomer] = field(default_factory=dict)
    next_step: datetime | None = None
    changed: frozenset[int] | None = None

    @property
    def entry(self) -> VipEntry:
        """The VIP's map entry."""
        vip = self.vip
        return VipEntry.of(
            vip.id,
            vip.vip,
            candidates=self.table.candidates,
            has_access_list=bool(vip.access),
            second_choice=self.has_second_choice,
        )

    @property
    def has_second_choice(self) -> bool:
        """Whether a new connection may go to another backend than the one that comes first."""
        return self.vip.vip.syn_failover or bool(self.limited)

    def standing(self, *, nics_carry: bool) -> VipStanding:
        """Return how the VIP stands; `nics_carry`: every NIC that is asked for carries packets."""
        unfit = sum(standing.unfit for standing in self.eligibility.values()) if self.rule.uses_unfit else 0
        return standing_of(
            len(self.backends),
            self.asked,
            self.table.out,
            unfit=unfit,
            needed=needed_of(self.vip.vip.min_serving, len(self.asked)),
            nics_carry=nics_carry,
        )

    @property
    def concerned(self) -> Mapping[int, BackendDraft]:
        """The backends whose entries may have to be written."""
        if self.changed is None:
            return self.backends
        return {number: self.backends[number] for number in self.changed if number in self.backends}

    def without(self, ids: frozenset[int]) -> VipDraft:
        """Return the draft without these backends."""
        backends = {key: value for key, value in self.backends.items() if key not in ids}
        configured = tuple(weighted for weighted in self.table.configured if weighted.id not in ids)
        table = replace(
            self.table,
            configured=configured,
            out=self.table.out - ids,
            kept=self.table.kept - ids,
            newcomers=tuple(newcomer for newcomer in self.table.newcomers if newcomer.id not in ids),
        )
        return replace(
            self,
            backends=backends,
            table=table,
            asked=self.asked - ids,
            limited=self.limited - ids,
            changed=None,
        )


class HostSide(NamedTuple):
    """What is known of the host itself, on which the entries and the eligibility of all backends depend."""

    tunnel_sources: tuple[IPNetwork, ...]
    sources: Sources
    ifindexes: frozenset[int] | None
    nics_out: Mapping[str, str]

    @classmethod
    def of(cls, observed: Observed) -> HostSide:
        """Return what was observed of it."""
        return cls(observed.tunnel_sources, observed.sources, observed.ifindexes, observed.nics_out)


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
    if before is None:
        ramps = _ramps_at_start(vip, eligibility, observed)
    else:
        ramps = _ramps(vip, eligibility, observed, before, before.backends.keys() - eligibility.keys())
    coming = _coming(vip, ramps, observed, out, rule)
    _tell_of(coming, eligibility)
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
        TableSource(vip.vip.scheduler, configured, out, kept, _of_table(vip, coming)),
        frozenset([bound.id for bound in vip.backends.values() if is_asked(bound.backend)]),
        frozenset([bound.id for bound in vip.backends.values() if bound.backend.max_new_flows]),
        rule,
        Tally.of(standing.traits for standing in eligibility.values()),
        ramps,
        coming,
        _next_step(vip, coming, observed),
    )


def _goes_on(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether nothing but backends can differ from the draft before, and each can be looked at by itself."""
    return _asked(before.vip) == _asked(vip) and before.host == HostSide.of(observed)


def _asked(vip: BoundVip) -> tuple[object, ...]:
    """Return the settings of a VIP on which all its backends depend."""
    one = vip.vip
    return (
        *(vip.id, one.key, one.forward, one.scheduler, one.vlan, vip.checks),
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
    touched = {vip.backends[address].id: vip.backends[address] for address in difference.present}
    for number in seen - gone:
        known = before.backends.get(number)
        if known is not None and vip.backends.get(known.bound.backend.address) is known.bound:
            touched[number] = known.bound
    looks = {number: look_at(vip, bound, observed) for number, bound in touched.items()}
    lost = [before.eligibility[number].traits for number in gone | touched.keys() if number in before.eligibility]
    tally = before.tally.after(lost, [look.traits for look in looks.values()])
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
    ramps = _ramps(vip, eligibility, observed, before, gone)
    coming = _coming(vip, ramps, observed, out, rule)
    stepping = _at_another_step(before.newcomers, coming)
    for number in stepping - gone - touched.keys():
        bound = before.backends[number].bound
        look = look_at(vip, bound, observed)
        if look.traits == before.eligibility[number].traits:  # else it is seen in the next draft, with all that follows
            touched[number], looks[number], eligibility[number] = bound, look, under(rule, look, bound, observed)
    _tell_of(coming, eligibility)
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
        _of_table(vip, coming),
    )
    return VipDraft(
        vip,
        before.host,
        without(before.backends, gone) | made,
        without(before.eligibility, gone) | eligibility,
        table,
        (before.asked - gone - whole) | {number for number in whole if is_asked(touched[number].backend)},
        (before.limited - gone - whole) | {number for number in whole if made[number].entry.max_new_flows},
        rule,
        # Not that from which the rule was made: more may have been looked at since, and found to be otherwise.
        before.tally.after(
            [before.eligibility[number].traits for number in gone | touched.keys() if number in before.eligibility],
            [look.traits for look in looks.values()],
        ),
        ramps,
        coming,
        _next_step(vip, coming, observed),
        changed=frozenset(gone | made.keys()),
    )


def _ramps(
    vip: BoundVip,
    eligibility: Mapping[int, Eligibility],
    observed: Observed,
    before: VipDraft,
    gone: AbstractSet[int],
) -> Ramps:
    """Return who came up lately, if these eligibilities are those of all that may not be as before.

    One comes up when it can serve and could not in the draft before, or is new.
    """
    seconds = vip.vip.slow_start_seconds
    if not seconds or observed.now is None:
        return NO_RAMPS
    can = {number for number, standing in eligibility.items() if standing.traits & Traits.SERVES}
    came = {number for number in can if not _could_serve(vip, number, before)}
    ramps = before.ramps if before.vip.vip.slow_start_seconds == seconds else NO_RAMPS
    return ramps_after(ramps, came, (eligibility.keys() - can) | gone, tick_of(observed.now, seconds), seconds)


def _could_serve(vip: BoundVip, number: int, before: VipDraft) -> bool:
    """Return whether the backend with this id could serve in the draft before, or served though it failed."""
    known = before.backends.get(number)
    if known is None:
        return False
    was = before.eligibility[number]
    if was.use is not Use.SERVING and not was.traits & Traits.SERVES:
        return False
    now = vip.backends.get(known.bound.backend.address)  # the id may be another one's now
    return now is not None and (now.id, now.epoch) == (number, known.bound.epoch)


def _ramps_at_start(vip: BoundVip, eligibility: Mapping[int, Eligibility], observed: Observed) -> Ramps:
    """Return who came up lately if it is not known who served before, as when a daemon starts.

    Those that were found up lately go on. One that came up otherwise, as after a drain, is taken to have its share.
    """
    seconds = vip.vip.slow_start_seconds
    if not seconds or observed.now is None:
        return NO_RAMPS
    up = {
        number: known.since
        for number, standing in eligibility.items()
        if standing.traits & Traits.SERVES and (known := observed.health[number]).health is Health.UP
    }
    return ramps_of(up, tick_of(observed.now, seconds), seconds)


def _coming(
    vip: BoundVip, ramps: Ramps, observed: Observed, out: AbstractSet[int], rule: Rule
) -> Mapping[int, Newcomer]:
    """Return how far those are that have a part of their share now, by id.

    Whoever serves in spite of a failure does not count: no healthy backend is held back for it.
    """
    seconds = vip.vip.slow_start_seconds
    if not ramps or observed.now is None:
        return {}
    found = newcomers(ramps, tick_of(observed.now, seconds), seconds, out=out, serving=rule.can_serve)
    return {newcomer.id: newcomer for newcomer in found}


def _at_another_step(before: Mapping[int, Newcomer], now: Mapping[int, Newcomer]) -> set[int]:
    """Return the ids of those that have another part of their share now than before."""
    return {number for number in before.keys() | now.keys() if before.get(number) != now.get(number)}


def _tell_of(coming: Mapping[int, Newcomer], eligibility: dict[int, Eligibility]) -> None:
    """Let the reasons of newcomers say how far they are."""
    for number, newcomer in coming.items():
        if (standing := eligibility.get(number)) is not None:
            reason = "; ".join(filter(None, (ramp_words(newcomer), standing.reason)))
            eligibility[number] = replace(standing, reason=reason)


def _of_table(vip: BoundVip, coming: Mapping[int, Newcomer]) -> tuple[Newcomer, ...]:
    """Return those that have a part of their slots. A scheduler that compares loads goes by their weights instead."""
    return () if vip.vip.scheduler.is_by_load else tuple(coming.values())


def _next_step(vip: BoundVip, coming: Mapping[int, Newcomer], observed: Observed) -> datetime | None:
    """Return when the parts change that backends have of their shares, None if all have the whole."""
    if not coming or observed.now is None:
        return None
    seconds = vip.vip.slow_start_seconds
    return next_step(tick_of(observed.now, seconds), seconds)


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
        *(before.vip.id, old.forward, old.scheduler, old.vlan, old.slow_start_seconds),
        *(before.vip.has_agents, host.tunnel_sources, host.sources),
    ) == (
        *(vip.id, new.forward, new.scheduler, new.vlan, new.slow_start_seconds),
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
