"""What is changed on one balancer while the store is away: weights, admin states and drains of backends. Pure.

The change works here at once, and is written later; or it is dropped, if somebody else has changed that backend since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xdplb.control.edits.edit import Batch, DrainBackend, Edit, PatchBackend, UndrainBackend
from xdplb.control.edits.rights import OPERATED
from xdplb.control.state.desired import Desired, DesiredBackend
from xdplb.control.state.differing import carried, differing
from xdplb.control.state.entries import backend_entry
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import Pending, Place, StoreCopy
from xdplb.model.vip import VipKey

__all__ = ["Rebased", "based", "may_wait", "rebased", "stamped", "with_pending"]


@dataclass(frozen=True, slots=True)
class Rebased:
    """What is desired with what was pending in it; which of it is written, and which is dropped, with the reason."""

    desired: Desired
    written: tuple[Place, ...]
    dropped: Mapping[Place, str]


def may_wait(edit: Edit) -> bool:
    """Return whether an edit may be made here while the store is away, and be written to it later."""
    if isinstance(edit, Batch):
        return all(map(may_wait, edit.edits))
    if isinstance(edit, PatchBackend):
        return edit.changes.keys() <= OPERATED
    return isinstance(edit, DrainBackend | UndrainBackend)


def with_pending(before: Snapshot, after: Snapshot) -> Snapshot:
    """Return the state after a change that may wait, which knows what of it is not in the store."""
    pending = dict(before.copy.pending)
    for key in differing(before.desired.vips, after.desired.vips).changed:
        old, new = before.desired.vips[key], after.desired.vips[key]
        for address in differing(old.backends, new.backends).changed:
            known = pending.get((key, address)) or Pending(
                old.backends[address], before.generations.vips[key].backends[address]
            )
            pending[key, address] = known
            if backend_entry(known.base) == backend_entry(new.backends[address]):
                del pending[key, address]
    return after.copied(replace(after.copy, pending=pending))


def based(snapshot: Snapshot) -> tuple[Desired, Generations, StoreCopy]:
    """Return a state without what is pending: as it is in the store."""
    pending, copy = snapshot.copy.pending, snapshot.copy
    if not pending:
        return snapshot.desired, snapshot.generations, copy
    desired = _with_backends(snapshot.desired, {place: each.base for place, each in pending.items()})
    generations = stamped(snapshot.generations, {place: each.generation for place, each in pending.items()})
    return desired, replace(generations, current=copy.generation), replace(copy, pending={})


def rebased(
    effective: Desired, pending: Mapping[Place, Pending], desired: Desired, generations: Generations
) -> Rebased:
    """Return `desired`, as it is in the store now, with what is pending in `effective`, as far as that still holds."""
    written: dict[Place, DesiredBackend] = {}
    dropped: dict[Place, str] = {}
    for (key, address), each in pending.items():
        vip = desired.vips.get(key)
        present = None if vip is None else vip.backends.get(address)
        if present is None:
            dropped[key, address] = "it was removed meanwhile"
        elif generations.vips[key].backends[address] != each.generation:
            dropped[key, address] = "somebody else has changed it meanwhile"
        else:
            wanted = effective.vips[key].backends[address]
            written[key, address] = wanted if present == each.base else _operated(present, wanted)
    return Rebased(_with_backends(desired, written), tuple(written), dropped)


def stamped(generations: Generations, numbers: Mapping[Place, int]) -> Generations:
    """Return the generations with other numbers of these backends, which raise those of their VIPs."""
    vips = dict(generations.vips)
    for (key, address), number in numbers.items():
        vip = vips[key]
        vips[key] = VipGenerations(max(vip.latest, number), {**vip.backends, address: number})
    return Generations(generations.current, vips)


def _operated(present: DesiredBackend, wanted: DesiredBackend) -> DesiredBackend:
    backend = replace(
        present.backend, weight=wanted.backend.weight, admin_state=wanted.backend.admin_state
    )
    return DesiredBackend(backend, wanted.drain, present.declared)


def _with_backends(desired: Desired, backends: Mapping[Place, DesiredBackend]) -> Desired:
    of_vips: dict[VipKey, dict[object, DesiredBackend]] = {}
    for (key, address), backend in backends.items():
        of_vips.setdefault(key, {})[address] = backend
    vips = {
        key: replace(desired.vips[key], backends=carried(desired.vips[key].backends, (), given, desired.vips[key].backends))
        for key, given in of_vips.items()
    }
    return desired.with_vips({**desired.vips, **vips}, desired.places) if vips else desired
