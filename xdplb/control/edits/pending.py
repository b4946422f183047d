# SPDX-License-Identifier: Apache-2.0
"""What is changed on one balancer while the store is away: weights, admin states and drains of backends. Pure.

The change works here at once, and is written later; or it is dropped, if somebody else has changed that backend since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from xdplb.control.edits.edit import Batch, DrainBackend, Edit, PatchBackend, UndrainBackend
from xdplb.control.edits.rights import OPERATED
from xdplb.control.state.desired import Desired, DesiredBackend
from xdplb.control.state.differing import carried, differing
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import Pending, Place, StoreCopy
from xdplb.model.address import IPAddress
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
        numbers = before.generations.vips[key]
        latest = next((each.vip_generation for (of, _), each in pending.items() if of == key), numbers.latest)
        for address in differing(old.backends, new.backends).changed:
            # One that was changed back, too: its generation has changed, and clients may have seen that.
            first = Pending(old.backends[address], numbers.backends[address], latest)
            pending.setdefault((key, address), first)
    return after.copied(replace(after.copy, pending=pending))


def based(snapshot: Snapshot) -> tuple[Desired, Generations, StoreCopy]:
    """Return a state without what is pending: as it is in the store."""
    pending, copy = snapshot.copy.pending, snapshot.copy
    if not pending:
        return snapshot.desired, snapshot.generations, copy
    desired = _with_backends(snapshot.desired, {place: each.base for place, each in pending.items()})
    vips = dict(snapshot.generations.vips)
    for (key, address), each in pending.items():
        vips[key] = VipGenerations(each.vip_generation, {**vips[key].backends, address: each.generation})
    return desired, Generations(copy.generation, vips), replace(copy, pending={})


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


def stamped(generations: Generations, places: Collection[Place], number: int) -> Generations:
    """Return the generations after a change of these backends, which is `number`."""
    vips = dict(generations.vips)
    for key, address in places:
        vips[key] = VipGenerations(number, {**vips[key].backends, address: number})
    return Generations(number, vips)


def _operated(present: DesiredBackend, wanted: DesiredBackend) -> DesiredBackend:
    backend = replace(present.backend, weight=wanted.backend.weight, admin_state=wanted.backend.admin_state)
    return DesiredBackend(backend, wanted.drain, present.declared)


def _with_backends(desired: Desired, backends: Mapping[Place, DesiredBackend]) -> Desired:
    of_vips: dict[VipKey, dict[IPAddress, DesiredBackend]] = {}
    for (key, address), backend in backends.items():
        of_vips.setdefault(key, {})[address] = backend
    vips = {
        key: replace(
            desired.vips[key], backends=carried(desired.vips[key].backends, (), given, desired.vips[key].backends)
        )
        for key, given in of_vips.items()
    }
    return desired.with_vips({**desired.vips, **vips}, desired.places) if vips else desired
