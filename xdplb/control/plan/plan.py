"""From what was asked, seen and held to the steps that make the maps right: a pure function, so that it can be shown.

The steps are in an order in which a packet between any two of them finds something valid. A backend is written before
a table names it, and taken out of use after no table sends new connections to it; a table is there before its VIP,
and goes after it; an id that changes hands is first taken from its old holder everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from xdplb.control.plan.drafts import VipDraft, draft
from xdplb.control.plan.eligibility import Eligibility, Observed, assess
from xdplb.control.plan.needs import features_needed
from xdplb.control.plan.steps import (
    ClearBackends,
    DeleteTable,
    Held,
    ResetVipCounters,
    Step,
    WriteAccess,
    WriteBackends,
    WriteTable,
    WriteVips,
)
from xdplb.control.plan.tables import table_step
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry, DataPlane, VipEntry

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps for the data plane, in order; what each backend is used for once they are done, by id; drafts of VIPs.

    `features` are those without which some packet of these VIPs would not go where it should.
    """

    steps: tuple[Step, ...]
    eligibility: Mapping[int, Eligibility] = field(default_factory=dict)
    drafts: Mapping[int, VipDraft] = field(default_factory=dict)
    features: Features = frozenset()

    @property
    def tables(self) -> tuple[WriteTable, ...]:
        """The tables that are published, with the slots that move."""
        return tuple(step for step in self.steps if isinstance(step, WriteTable))

    def apply(self, plane: DataPlane) -> None:
        """Take every step. Blocks. After a PlatformError, read what is held and plan again."""
        for step in self.steps:
            step.apply(plane)

    def after(self, held: Held) -> Held:
        """Return what the maps hold once all steps are done."""
        for step in self.steps:
            held = step.applied_to(held)
        return replace(held, drafts={**held.drafts, **self.drafts})


def plan(snapshot: Snapshot, observed: Observed, held: Held, only: AbstractSet[int] | None = None) -> Plan:
    """Return the steps from what the maps hold to what was asked for, as far as what was seen allows.

    The same arguments give the same plan; once it is done, the next plan has no steps. With `only`, the ids of VIPs,
    the others are known to be right and are not looked at: one flip concerns one VIP, and a plan of thousands of
    backends takes long. `observed` then needs no more than these, and no VIP may have come, gone or changed but for
    its backends.
    """
    vips = [vip for vip in snapshot.vips.values() if only is None or vip.id in only]
    others: Mapping[int, VipEntry] = {}
    if only is not None:
        others = {vip_id: entry for vip_id, entry in held.vips.items() if vip_id not in only}
        # Lists are written all at once: those of these VIPs alone would take the others' away. They have not changed,
        # also where what is held was read from the maps, which do not tell them.
        held = replace(held.part(only), access={vip.id: vip.access for vip in vips if vip.access})
    eligibility: dict[int, Eligibility] = {}
    drafts: dict[int, VipDraft] = {}
    for vip in vips:
        assessed = assess(vip, observed)
        eligibility |= assessed
        drafts[vip.id] = draft(vip, assessed, observed, held.backends, held.drafts.get(vip.id))
    first: tuple[Step, ...] = ()
    vacated = _without_reused_ids(drafts, held)
    if vacated is not None:
        first = _steps(vacated, held, others)
        held = Plan(first, drafts=vacated).after(held)
        held = replace(held, vips={vip_id: entry for vip_id, entry in held.vips.items() if vip_id not in others})
    return Plan(
        first + _steps(drafts, held, others), eligibility, drafts, features_needed(drafts.values(), vlan=observed.vlan)
    )


def _without_reused_ids(drafts: Mapping[int, VipDraft], held: Held) -> dict[int, VipDraft] | None:
    """Return the drafts without VIPs and backends whose id the maps still hold for another; None if there is none."""
    vacated: dict[int, VipDraft] = {}
    unchanged = True
    for vip_id, wanted in drafts.items():
        if vip_id in held.vips and held.vips[vip_id].key != wanted.vip.vip.key:
            unchanged = False
            continue
        reused = frozenset(
            [
                backend_id
                for backend_id, backend in wanted.backends.items()
                if (entry := held.backends.get(backend_id)) is not None
                and entry is not backend.entry
                and not _is_holder(wanted.vip, backend.bound, entry)
            ]
        )
        vacated[vip_id] = wanted.without(reused) if reused else wanted
        unchanged = unchanged and not reused
    return None if unchanged else vacated


def _is_holder(vip: BoundVip, bound: BoundBackend, entry: BackendEntry) -> bool:
    return (entry.vip_id, entry.epoch, entry.address) == (vip.id, bound.epoch, bound.backend.address)


def _steps(drafts: Mapping[int, VipDraft], held: Held, others: Mapping[int, VipEntry]) -> tuple[Step, ...]:
    vips = {vip_id: wanted.entry for vip_id, wanted in drafts.items()}
    backends = {key: backend.entry for wanted in drafts.values() for key, backend in wanted.backends.items()}
    early, late = _backend_writes(backends, held)
    steps: list[Step] = []
    if early:
        steps.append(WriteBackends(early))
    if new := tuple(sorted(vips.keys() - held.vips.keys())):
        steps.append(ResetVipCounters(new))
    steps += [step for vip_id in sorted(drafts) if (step := table_step(drafts[vip_id], held)) is not None]
    allowing, forgetting = _access_writes(drafts, held)
    steps += allowing
    if vips != held.vips:
        steps.append(WriteVips(tuple(entry for _, entry in sorted({**others, **vips}.items()))))
    steps += forgetting
    if late:
        steps.append(WriteBackends(late))
    steps += [DeleteTable(vip_id) for vip_id in sorted(held.tables.keys() - vips.keys())]
    if gone := tuple(sorted(held.backends.keys() - backends.keys())):
        steps.append(ClearBackends(gone))
    return tuple(steps)


def _access_writes(drafts: Mapping[int, VipDraft], held: Held) -> tuple[list[WriteAccess], list[WriteAccess]]:
    """Return what to write before the VIPs, with the lists that are not asked for any more, and what after them."""
    wanted = {vip_id: draft.vip.access for vip_id, draft in drafts.items() if draft.vip.access}
    if held.access == wanted:
        return [], []
    both = {**(held.access or {}), **wanted}
    early = [WriteAccess(both)] if both and both != held.access else []
    late = [WriteAccess(wanted)] if both != wanted or not both else []
    return early, late


def _backend_writes(
    wanted: Mapping[int, BackendEntry], held: Held
) -> tuple[tuple[BackendEntry, ...], tuple[BackendEntry, ...]]:
    """Return the backends to write before tables are published and those, no longer usable, to write after."""
    early: list[BackendEntry] = []
    late: list[BackendEntry] = []
    for backend_id, entry in wanted.items():
        present = held.backends.get(backend_id)
        if entry is not present and entry != present:
            (late if present is not None and present.usable and not entry.usable else early).append(entry)
    return _by_id(early), _by_id(late)


def _by_id(entries: list[BackendEntry]) -> tuple[BackendEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.id))
