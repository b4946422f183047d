# SPDX-License-Identifier: Apache-2.0
"""Planning: from the desired state, the observed host and the maps to the steps that correct the maps. Pure.

The steps are ordered so that a packet between any two of them finds a valid configuration. A backend is written before
a table names it, and taken out of use only when no table sends new connections to it. A table is written before its
VIP and deleted after it. An id that gets a new owner is first removed from its old owner everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from xdplb.control.plan.drafting import draft
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.needs import features_needed
from xdplb.control.plan.steps import (
    ClearBackends,
    DeleteTable,
    Held,
    HeldLater,
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
from xdplb.dataplane.plane import BackendEntry, DataPlane
from xdplb.model.access import AccessList

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps for the data plane, in order, the eligibility of each backend after them, by id, and the drafts of VIPs.

    `features` are those that the program needs to forward all packets of these VIPs.
    """

    steps: tuple[Step, ...]
    eligibility: dict[int, Eligibility] = field(default_factory=dict)
    drafts: Mapping[int, VipDraft] = field(default_factory=dict)
    features: Features = frozenset()

    @property
    def tables(self) -> tuple[WriteTable, ...]:
        """The tables that are published, each with the slots that move."""
        return tuple(step for step in self.steps if isinstance(step, WriteTable))

    @property
    def cleared(self) -> tuple[int, ...]:
        """The ids of the backends whose entries are cleared."""
        return tuple([number for step in self.steps if isinstance(step, ClearBackends) for number in step.ids])

    def apply(self, plane: DataPlane) -> None:
        """Carry out all steps. Blocks. After a PlatformError, read the maps and plan again."""
        for step in self.steps:
            step.apply(plane)

    def after(self, held: Held) -> Held:
        """Return what the maps hold after all steps."""
        later = HeldLater(held)
        for step in self.steps:
            step.note_in(later)
        later.drafts.update(self.drafts)
        return later.held()


def plan(
    snapshot: Snapshot,
    observed: Observed,
    held: Held,
    only: AbstractSet[int] | None = None,
    seen: Mapping[int, AbstractSet[int]] = MappingProxyType({}),
    *,
    made: Mapping[int, VipDraft] = MappingProxyType({}),
) -> Plan:
    """Return the steps that bring the maps from `held` to the desired state, as far as `observed` allows.

    The same arguments give the same plan; once it is carried out, the next plan has no steps. With `only`, VIP ids, all
    other VIPs are assumed to be up to date and are skipped, which makes a plan cost what it changes: `only` are the
    VIPs that were added, removed or changed, and those about whose backends something else was observed. If `seen`
    has such a VIP, that concerns only the backends with the ids there. `made` are drafts, by VIP id, that were made
    already from the same arguments.
    """
    lists = _lists(snapshot, held, only)
    if only is None:
        vips, seen = list(snapshot.vips.values()), {}  # the maps may hold anything, whatever was observed
    else:
        vips = [snapshot.by_id[vip_id] for vip_id in sorted(only) if vip_id in snapshot.by_id]
        held = held.part(only)
    drafts = {
        vip.id: made.get(vip.id) or draft(vip, observed, held.backends, held.drafts.get(vip.id), seen.get(vip.id))
        for vip in vips
    }
    first: tuple[Step, ...] = ()
    # An id that gets a new owner needs two rounds of steps: first without either owner, then with the new one.
    # Otherwise packets between two steps could reach the new owner by slots of the old one.
    vacated = _without_reused_ids(drafts, held)
    whole = drafts
    if vacated is not None:
        vacating = drafts.keys() - vacated.keys()
        first = _steps(vacated, held, {vip_id: one for vip_id, one in lists.items() if vip_id not in vacating})
        held = Plan(first, drafts=vacated).after(held)
        whole = {vip_id: replace(wanted, changed=None) for vip_id, wanted in drafts.items()}
    return Plan(
        first + _steps(whole, held, lists),
        _eligibility(drafts.values()),
        drafts,
        features_needed(drafts.values(), vlan=observed.vlan),
    )


def _eligibility(drafts: Iterable[VipDraft]) -> dict[int, Eligibility]:
    """Return the eligibility of the backends that are not as in the drafts before."""
    found: dict[int, Eligibility] = {}
    for each in drafts:
        if each.changed is None:
            found |= each.eligibility
        else:
            found |= {number: each.eligibility[number] for number in each.concerned}
    return found


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
                for backend_id, backend in wanted.concerned.items()
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


def _steps(drafts: Mapping[int, VipDraft], held: Held, lists: Mapping[int, AccessList]) -> tuple[Step, ...]:
    """Return the steps that bring the maps to these drafts, and to these access lists of all VIPs."""
    vips = {vip_id: wanted.entry for vip_id, wanted in drafts.items()}
    entries = {key: backend.entry for wanted in drafts.values() for key, backend in wanted.concerned.items()}
    early, late = _backend_writes(entries, held)
    steps: list[Step] = []
    if early:
        steps.append(WriteBackends(early))
    if new := tuple(sorted(vips.keys() - held.vips.keys())):
        steps.append(StartVips(new))
    steps += [step for vip_id in sorted(drafts) if (step := table_step(drafts[vip_id], held)) is not None]
    allowing, forgetting = _access_writes(lists, held)
    steps += allowing
    written = tuple([entry for vip_id, entry in sorted(vips.items()) if held.vips.get(vip_id) != entry])
    removed = tuple(sorted(held.vips.keys() - vips.keys()))
    if written or removed:
        steps.append(WriteVips(written, removed))
    steps += forgetting
    if late:
        steps.append(WriteBackends(late))
    steps += [DeleteTable(vip_id) for vip_id in sorted(held.tables.keys() - vips.keys())]
    if gone := set[int]().union(*held.ids.values()).difference(*(wanted.backends for wanted in drafts.values())):
        steps.append(ClearBackends(tuple(sorted(gone))))
    return tuple(steps)


def _lists(snapshot: Snapshot, held: Held, only: AbstractSet[int] | None) -> Mapping[int, AccessList]:
    """Return the access lists of all VIPs, since a step replaces all: those not in `only` have them already."""
    if only is None or held.access is None:
        return {vip.id: vip.access for vip in snapshot.vips.values() if vip.access}
    lists = {vip_id: access for vip_id, access in held.access.items() if vip_id not in only}
    for vip_id in only & snapshot.by_id.keys():
        if access := snapshot.by_id[vip_id].access:
            lists[vip_id] = access
    return lists


def _access_writes(wanted: Mapping[int, AccessList], held: Held) -> tuple[list[WriteAccess], list[WriteAccess]]:
    """Return the lists to write before the VIPs, with those about to be removed, and the lists to write after them."""
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
