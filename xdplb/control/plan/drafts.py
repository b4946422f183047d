# SPDX-License-Identifier: Apache-2.0
"""Drafts of VIPs, the first half of a plan: their backend entries, and what their tables are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from xdplb.balance.ramp import Newcomer
from xdplb.balance.rotation import candidates
from xdplb.balance.table import WeightedBackend
from xdplb.control.plan.eligibility import Eligibility, Observed, Use
from xdplb.control.plan.operating import VipStanding, needed_of, standing_of
from xdplb.control.plan.policies import Rule, Tally
from xdplb.control.plan.slow_start import Ramps
from xdplb.control.plan.sources import Sources
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Scheduler

__all__ = ["BackendDraft", "HostSide", "TableSource", "VipDraft"]

_FINGERPRINT_VERSION = 1
"""Goes up whenever the same source gives another table."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """What a table is built from. While it is the same, so is the table, except for slots that settle.

    `out` are the ids that take no new connections, `kept` those that keep their open ones. `newcomers` have a part of
    their share so far. `lost` are those that get no packets from here, while other balancers may see them otherwise.
    """

    scheduler: Scheduler
    configured: tuple[WeightedBackend, ...]
    out: frozenset[int]
    kept: frozenset[int]
    newcomers: tuple[Newcomer, ...] = ()
    lost: frozenset[int] = frozenset()

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that differ wherever the table does: who asks for it later knows the table without computing it.

        It is that of the table whose slots are all steady, for which it makes no difference who is `kept` or `lost`.
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
            lost=self.table.lost - ids,
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
    has_peers: bool

    @classmethod
    def of(cls, observed: Observed) -> HostSide:
        """Return what was observed of it."""
        return cls(observed.tunnel_sources, observed.sources, observed.ifindexes, observed.nics_out, observed.has_peers)
