"""Drafts of VIPs, the first half of a plan: their backend entries, and what their tables are built from.

A failed check or a new weight concerns one backend among thousands. So a draft reuses the parts of the previous draft
that were made from the same objects, and where it is known which backends to look at, only these are looked at. This
only makes it faster; the result is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from hashlib import blake2b
from operator import attrgetter
from sys import intern
from typing import NamedTuple

from xdplb.balance.rotation import candidates
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.backend_entries import backend_entry
from xdplb.control.plan.eligibility import Eligibility, Observed, Use, assess, assess_one, fails_open
from xdplb.control.plan.sources import Sources
from xdplb.control.state.differing import differing, without
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.needs import needs_of
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import AllUnhealthy, Scheduler

__all__ = ["BackendDraft", "HostSide", "TableSource", "VipDraft", "draft"]


_ID = attrgetter("id")


_FINGERPRINT_VERSION = 1
"""Goes up whenever the same source gives another table."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """What a table is built from. While it is the same, so is the table, except for slots that settle.

    `out` are the ids that take no new connections, `kept` those that keep their open ones.
    """

    scheduler: Scheduler
    configured: tuple[WeightedBackend, ...]
    out: frozenset[int]
    kept: frozenset[int]

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that differ wherever the table does: who asks for it later knows the table without computing it.

        It is that of the table whose slots are all steady, for which it makes no difference who is `kept`.
        """
        digest = blake2b(f"{_FINGERPRINT_VERSION} {self.scheduler.value}".encode(), digest_size=16)
        for backend in sorted(self.configured, key=lambda backend: (backend.key, backend.id)):
            digest.update(f"|{backend.key} {backend.weight} {backend.id}".encode())
        digest.update(f"|{sorted(self.out)}".encode())
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


@dataclass(frozen=True, slots=True, eq=False)
class VipDraft:
    """A VIP, its backends and their eligibility by id, and what its table is built from.

    `host` is what was known of the host. `limited` are the ids of the backends that take only so many new connections.
    `changed` are the ids of the backends that are not as in the draft before it,
    among them those that are gone; None if it may be any.
    """

    vip: BoundVip
    host: HostSide
    backends: Mapping[int, BackendDraft]
    eligibility: Mapping[int, Eligibility]
    table: TableSource
    fails_open: bool
    limited: frozenset[int]
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
            second_choice=vip.vip.syn_failover or bool(self.limited),
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
        table = replace(self.table, configured=configured, out=self.table.out - ids, kept=self.table.kept - ids)
        return replace(self, backends=backends, table=table, limited=self.limited - ids, changed=None)


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
        changed = _changed_draft(vip, observed, held, before, seen)
        if vip.vip.all_unhealthy is not AllUnhealthy.FAIL_OPEN or len(changed.table.out) < len(changed.backends):
            return changed
    return _whole_draft(vip, observed, held, before)


def _whole_draft(
    vip: BoundVip, observed: Observed, held: Mapping[int, BackendEntry], before: VipDraft | None
) -> VipDraft:
    eligibility = assess(vip, observed)
    known: Mapping[int, BackendDraft] = {}
    if before is not None and _has_entries_alike(before, vip, observed):
        known = before.backends
    backends: dict[int, BackendDraft] = {}
    for bound in vip.backends.values():
        backends[bound.id] = _backend(
            vip, bound, eligibility[bound.id], observed, (held.get(bound.id), known.get(bound.id))
        )
    configured = tuple(backends[backend_id].weighted for backend_id in sorted(backends))
    out = frozenset([key for key in backends if eligibility[key].use is not Use.SERVING])
    kept = frozenset([key for key in backends if eligibility[key].use is not Use.OUT])
    table = TableSource(vip.vip.scheduler, configured, out, kept)
    limited = frozenset([bound.id for bound in vip.backends.values() if bound.backend.max_new_flows])
    return VipDraft(vip, HostSide.of(observed), backends, eligibility, table, fails_open(eligibility), limited)


def _goes_on(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether nothing but backends can differ from the draft before, and each can be looked at by itself."""
    return (
        not before.fails_open
        and _asked(before.vip) == _asked(vip)
        and before.host == HostSide.of(observed)
        and len(before.table.out) < len(before.backends)
    )


def _asked(vip: BoundVip) -> tuple[object, ...]:
    """Return the settings of a VIP on which all its backends depend."""
    one = vip.vip
    return vip.id, one.key, one.forward, one.scheduler, one.vlan, one.on_unhealthy, one.all_unhealthy, vip.checks


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
    touched = [vip.backends[address] for address in difference.present]
    again = [before.backends[number].bound for number in seen - gone if number in before.backends]
    touched += [bound for bound in again if vip.backends.get(bound.backend.address) is bound]
    eligibility = {bound.id: assess_one(vip, bound, observed) for bound in touched}
    made = {
        bound.id: _backend(
            vip, bound, eligibility[bound.id], observed, (held.get(bound.id), before.backends.get(bound.id))
        )
        for bound in touched
    }
    gone -= made.keys()
    source = before.table
    serving = {number for number, standing in eligibility.items() if standing.use is Use.SERVING}
    keeping = {number for number, standing in eligibility.items() if standing.use is not Use.OUT}
    table = TableSource(
        vip.vip.scheduler,
        _with_weights(source.configured, gone, {number: one.weighted for number, one in made.items()}),
        (source.out - gone - serving) | (made.keys() - serving),
        (source.kept - gone - (made.keys() - keeping)) | keeping,
    )
    return VipDraft(
        vip,
        before.host,
        without(before.backends, gone) | made,
        without(before.eligibility, gone) | eligibility,
        table,
        fails_open=False,
        limited=before.limited - gone - made.keys()
        | {number for number, one in made.items() if one.entry.max_new_flows},
        changed=frozenset(gone | made.keys()),
    )


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
    return (before.vip.id, old.forward, old.scheduler, old.vlan, host.tunnel_sources, host.sources) == (
        *(vip.id, new.forward, new.scheduler, new.vlan),
        *(observed.tunnel_sources, observed.sources),
    )


def _backend(
    vip: BoundVip,
    bound: BoundBackend,
    standing: Eligibility,
    observed: Observed,
    present: tuple[BackendEntry | None, BackendDraft | None],
) -> BackendDraft:
    """Return a backend's draft. `present`: its entry in the maps and the draft before, each used where it is right."""
    held, before = present
    if before is not None and _is_right(before, bound, standing, observed):
        return before
    backend, entry = bound.backend, backend_entry(vip, bound, standing, observed)
    weighted = WeightedBackend(intern(str(backend.address)), bound.id, backend.weight)
    return BackendDraft(
        bound,
        observed.next_hop(backend.address),
        observed.path_mtu(backend.address),
        held if held is not None and held == entry else entry,
        before.weighted if before is not None and before.weighted == weighted else weighted,
        needs_of(backends=(entry,)),
    )


def _is_right(present: BackendDraft, bound: BoundBackend, standing: Eligibility, observed: Observed) -> bool:
    return (
        present.bound is bound
        and present.resolution is observed.next_hop(bound.backend.address)
        and present.path_mtu == observed.path_mtu(bound.backend.address)
        and present.entry.usable is (standing.use is not Use.OUT)
        and present.entry.takes_new is (standing.use is Use.SERVING)
    )
