"""Drafts of VIPs, the first half of a plan: their backend entries, and what their tables are built from.

A failed check concerns one backend among thousands. So a draft reuses the parts of the previous draft that were made
from the same objects. This only makes it faster; the result is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from xdplb.balance.rotation import candidates
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.backend_entries import backend_entry
from xdplb.control.plan.eligibility import Eligibility, Observed, Use
from xdplb.control.plan.sources import Sources
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.needs import needs_of
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Scheduler

__all__ = ["BackendDraft", "TableSource", "VipDraft", "draft"]


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
        """16 bytes that differ wherever the table does: who asks for it later knows the table without computing it."""
        digest = blake2b(f"{_FINGERPRINT_VERSION} {self.scheduler.value}".encode(), digest_size=16)
        for backend in sorted(self.configured, key=lambda backend: (backend.key, backend.id)):
            digest.update(f"|{backend.key} {backend.weight} {backend.id}".encode())
        for ids in (self.out, self.kept):
            digest.update(f"|{sorted(ids)}".encode())
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
    """A VIP, its backends by id, and what its table is built from."""

    vip: BoundVip
    tunnel_sources: tuple[IPNetwork, ...]
    sources: Sources
    backends: Mapping[int, BackendDraft]
    table: TableSource

    @property
    def entry(self) -> VipEntry:
        """The VIP's map entry."""
        vip = self.vip
        return VipEntry.of(vip.id, vip.vip, candidates=self.table.candidates, has_access_list=bool(vip.access))

    def without(self, ids: frozenset[int]) -> VipDraft:
        """Return the draft without these backends."""
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
    """Return the draft of `vip`. `held` are the backends in the maps: a correct entry there is used as it is."""
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
    return VipDraft(vip, observed.tunnel_sources, observed.sources, backends, table)


def _has_entries_alike(before: VipDraft, vip: BoundVip, observed: Observed) -> bool:
    """Return whether everything else that backend entries depend on, beside the backend itself, is unchanged."""
    old, new = before.vip.vip, vip.vip
    return (before.vip.id, old.forward, old.scheduler, old.vlan, before.tunnel_sources, before.sources) == (
        *(vip.id, new.forward, new.scheduler, new.vlan),
        *(observed.tunnel_sources, observed.sources),
    )


def _is_right(present: BackendDraft, bound: BoundBackend, standing: Eligibility, observed: Observed) -> bool:
    return (
        present.bound is bound
        and present.resolution is observed.next_hops.get(bound.backend.address)
        and present.path_mtu == observed.path_mtus.get(bound.backend.address)
        and present.entry.usable is (standing.use is not Use.OUT)
        and present.entry.takes_new is (standing.use is Use.SERVING)
    )


def _backend(bound: BoundBackend, observed: Observed, entry: BackendEntry, held: BackendEntry | None) -> BackendDraft:
    backend = bound.backend
    return BackendDraft(
        bound,
        observed.next_hops.get(backend.address),
        observed.path_mtus.get(backend.address),
        held if held is not None and held == entry else entry,
        WeightedBackend(str(backend.address), bound.id, backend.weight),
        needs_of(backends=(entry,)),
    )
