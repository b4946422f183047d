"""Planning: from the desired state, the observed host and the maps to the steps that correct the maps. Pure.

The steps are ordered so that a packet between any two of them finds a valid configuration. A backend is written before
a table names it, and taken out of use only when no table sends new connections to it. A table is written before its
VIP and deleted after it. An id that gets a new owner is first removed from its old owner everywhere.
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
    StartVips,
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
    """Steps for the data plane, in order, the eligibility of each backend after them, by id, and the drafts of VIPs.

    `features` are those that the program needs to forward all packets of these VIPs.
    """

    steps: tuple[Step, ...]
    eligibility: Mapping[int, Eligibility] = field(default_factory=dict)
    drafts: Mapping[int, VipDraft] = field(default_factory=dict)
    features: Features = frozenset()

    @property
    def tables(self) -> tuple[WriteTable, ...]:
        """The tables that are published, each with the slots that move."""
        return tuple(step for step in self.steps if isinstance(step, WriteTable))

    def apply(self, plane: DataPlane) -> None:
        """Carry out all steps. Blocks. After a PlatformError, read the maps and plan again."""
        for step in self.steps:
            step.apply(plane)

    def after(self, held: Held) -> Held:
        """Return what the maps hold after all steps."""
        for step in self.steps:
            held = step.applied_to(held)
        return replace(held, drafts={**held.drafts, **self.drafts})


def plan(snapshot: Snapshot, observed: Observed, held: Held, only: AbstractSet[int] | None = None) -> Plan:
    """Return the steps that bring the maps from `held` to the desired state, as far as `observed` allows.

    The same arguments give the same plan; once it is carried out, the next plan has no steps. With `only`, VIP ids, all
    other VIPs are assumed to be up to date and are skipped: a health flip concerns one VIP, and planning thousands of
    backends takes long. `observed` then needs to cover only these, and no VIP may have been added, removed or changed,
    except for its backends.
    """
    vips = [vip for vip in snapshot.vips.values() if only is None or vip.id in only]
    others: Mapping[int, VipEntry] = {}
    if only is not None:
        others = {vip_id: entry for vip_id, entry in held.vips.items() if vip_id not in only}
        # WriteAccess replaces all lists, so it would remove those of the other VIPs. With `only`, no list has changed,
        # so the present ones count as held. That also covers `held` read from the maps, which cannot give the lists.
        held = replace(held.part(only), access={vip.id: vip.access for vip in vips if vip.access})
    eligibility: dict[int, Eligibility] = {}
    drafts: dict[int, VipDraft] = {}
    for vip in vips:
        assessed = assess(vip, observed)
        eligibility |= assessed
        drafts[vip.id] = draft(vip, assessed, observed, held.backends, held.drafts.get(vip.id))
    first: tuple[Step, ...] = ()
    # An id that gets a new owner needs two rounds of steps: first without either owner, then with the new one.
    # Otherwise packets between two steps could reach the new owner by slots of the old one.
    vacated = _without_reused_ids(drafts, held)
    if vacated is not None:
        first = _steps(vacated, held, others)
        held = Plan(first, drafts=vacated).after(held)
        held = replace(held, vips={vip_id: entry for vip_id, entry in held.vips.items() if vip_id not in others})
    return Plan(
        first + _steps(drafts, held, others), eligibility, drafts, features_needed(drafts.values(), vlan=observed.vlan)
    )


def _without_reused_ids(drafts: Mapping[int, VipDraft], held: Held) -> dict[int, VipDraft] | None:
    """Return the drafts without VIPs and backends whose id still has another owner in the maps; None if none has."""
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
        steps.append(StartVips(new))
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
    """Return the lists to write before the VIPs, with those about to be removed, and the lists to write after them."""
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
    """Return the backends to write before tables are published, and those (no longer usable) to write after."""
    early: list[BackendEntry] = []
    late: list[BackendEntry] = []
    for backend_id, entry in wanted.items():
        present = held.backends.get(backend_id)
        if entry is not present and entry != present:
            (late if present is not None and present.usable and not entry.usable else early).append(entry)
    return _by_id(early), _by_id(late)


def _by_id(entries: list[BackendEntry]) -> tuple[BackendEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.id))
