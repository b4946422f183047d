"""What a VIP's backends and its table should be: the first half of a plan.

A check that fails concerns one backend among thousands. So a draft is made of the parts of the one before it, as far
as these come from the same objects; that changes how long it takes, never what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xdplb.balance.rotation import candidates
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.backend_entries import backend_entry
from xdplb.control.plan.eligibility import Eligibility, Observed, Use
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.needs import needs_of
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Scheduler

__all__ = ["BackendDraft", "TableSource", "VipDraft", "draft"]


@dataclass(frozen=True, slots=True)
class TableSource:
    """What a table is made from: while it stays the same, so does the table, but for slots that settle.

    `out` are the ids that take no new connections, `kept` those that keep the ones they have.
    """

    scheduler: Scheduler
    configured: tuple[WeightedBackend, ...]
    out: frozenset[int]
    kept: frozenset[int]

    @property
    def candidates(self) -> int:
        """For schedulers that compare all backends: how many there are to compare, 0 for the others."""
        if not self.scheduler.compares_all:
            return 0
        return candidates(self.configured, self.out)


@dataclass(frozen=True, slots=True, eq=False)
class BackendDraft:
    """A backend as the maps and the table should have it, made from `bound` and `resolution`.

    `needs` are the features that the program must have for it.
    """

    bound: BoundBackend
    resolution: Resolution | None
    entry: BackendEntry
    weighted: WeightedBackend
    needs: Features


@dataclass(frozen=True, slots=True, eq=False)
class VipDraft:
    """A VIP's entry, its backends, by id, and what its table is to be made from."""

    vip: BoundVip
    tunnel_sources: tuple[IPNetwork, ...]
    backends: Mapping[int, BackendDraft]
    table: TableSource

    @property
    def entry(self) -> VipEntry:
        """The VIP as the maps should have it."""
        vip = self.vip
        return VipEntry.of(vip.id, vip.vip, candidates=self.table.candidates, has_access_list=bool(vip.access))

    def without(self, ids: frozenset[int]) -> VipDraft:
        """Return the same without these backends."""
        backends = {key: value for key, value in self.backends.items() if key not in ids}
        configured = tuple(weighted for weighted in self.table.configured if weighted.id not in ids)
        table = replace(self.table, configured=configured, out=self.table.out - ids, kept=self.table.kept - ids)
        return replace(self, backends=backends, table=table)


def draft(
    vip: BoundVip,
    eligibility: Mapping[int, Eligibility],
    observed: Observed,
    held: Mapping[int, BackendEntry],
    before: VipDraft | None,
) -> VipDraft:
    """Return what `vip` should be. `held` are the backends in the maps: an entry that is right is taken from there."""
    known: Mapping[int, BackendDraft] = {}
    if before is not None and _has_entries_alike(before, vip, observed):
        known = before.backends
    backends: dict[int, BackendDraft] = {}
    for bound in vip.backends.values():
        standing, present = eligibility[bound.id], known.get(bound.id)
        if present is None or not _is_right(present, bound, standing, observed):
            entry = backend_entry(vip, bound, standing, observed)
            present = _backend(bound, observed, entry, held.get(bound.id))
        backends[bound.id] = present
    configured = tuple(backends[backend_id].weighted for backend_id in sorted(backends))
    out = frozenset([key for key in backends if eligibility[key].use is not Use.SERVING])
    kept = frozenset([key for key in backends if eligibility[key].use is not Use.OUT])
    table = TableSource(vip.vip.scheduler, configured, out, kept)
    return VipDraft(vip, observed.tunnel_sources, backends, table)


def _has_entries_alike(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether the same backend has the same entry in both: what else an entry depends on has not changed."""
    old, new = before.vip.vip, vip.vip
    return (before.vip.id, old.forward, old.scheduler, old.vlan, before.tunnel_sources) == (
        *(vip.id, new.forward, new.scheduler, new.vlan),
        observed.tunnel_sources,
    )


def _is_right(present: BackendDraft, bound: BoundBackend, standing: Eligibility, observed: Observed) -> bool:
    return (
        present.bound is bound
        and present.resolution is observed.next_hops.get(bound.backend.address)
        and present.entry.usable is (standing.use is not Use.OUT)
    )


def _backend(bound: BoundBackend, observed: Observed, entry: BackendEntry, held: BackendEntry | None) -> BackendDraft:
    backend = bound.backend
    return BackendDraft(
        bound,
        observed.next_hops.get(backend.address),
        held if held is not None and held == entry else entry,
        WeightedBackend(str(backend.address), bound.id, backend.weight),
        needs_of(backends=(entry,)),
    )
