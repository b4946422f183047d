"""What would come of a change or of an event: one place for dry runs, for what-if questions and for the change itself.

A forecast is made of a plan that could be carried out as it is. So a dry run gives the very figures that the change
gives, and whoever makes the change need not plan twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from xdplb.control.plan.desired_diff import diff
from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.impact import Done, Impact, impact_of
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, KnownHealth, Snapshot
from xdplb.dataplane import access_index, vip_prefixes
from xdplb.dataplane.capacity import check_access_lists
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import VipEntry
from xdplb.model.backend import Health

__all__ = ["Forecast", "Present", "forecast", "if_down"]


@dataclass(frozen=True, slots=True)
class Present:
    """What is so before the change: what the maps hold, what the program is compiled for, and what came of it.

    `eligibility` is what backends are used for, by id; `flows` is how many recorded flows each has, an array by id,
    None where that is not known.
    """

    held: Held
    features: Features
    eligibility: Mapping[int, Eligibility]
    flows: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A plan, what the maps hold now (`held`) and once it is done (`after`), and what it does to traffic."""

    plan: Plan
    held: Held
    after: Held
    impact: Impact


def forecast(
    before: Snapshot,
    after: Snapshot,
    observed: Observed,
    present: Present,
    *,
    only: AbstractSet[int] | None = None,
    about: AbstractSet[int] | None = None,
) -> Forecast:
    """Return what it takes to get from what is so to `after`, and what that does; CapacityError if there is no room.

    `observed` and `only` are as `plan` takes them. The impact is `about` the VIPs with these ids, None for all: more
    may be planned, where that was due anyway.
    """
    _check_room(before, after)
    planned = plan(after, observed, present.held, only)
    held_then = planned.after(present.held)
    changes = diff(before.desired, after.desired)
    lacking = planned.features - present.features
    done = Done(planned, present.held, held_then, present.eligibility)
    return Forecast(planned, present.held, held_then, impact_of(changes, done, lacking, present.flows, about))


def if_down(
    snapshot: Snapshot,
    backend: BoundBackend,
    observed: Observed,
    present: Present,
    *,
    only: AbstractSet[int],
    now: datetime,
) -> Forecast:
    """Return what comes of it if this backend's check had failed now, as far as it concerns the VIPs with these ids."""
    down = KnownHealth(Health.DOWN, "it is asked about as if it were down", now)
    seen = replace(observed, health={**observed.health, backend.id: down})
    return forecast(snapshot, snapshot, seen, present, only=only, about=only)


def _check_room(before: Snapshot, after: Snapshot) -> None:
    """Raise CapacityError where the maps cannot hold what is new in `after`. Seconds for very long access lists."""
    if before.vips.keys() != after.vips.keys():
        _check_prefixes(after)
    if any((old := before.vips.get(key)) is None or old.access is not vip.access for key, vip in after.vips.items()):
        _check_access(after)


def _check_prefixes(snapshot: Snapshot) -> None:
    entries = [VipEntry.of(vip.id, vip.vip) for vip in snapshot.vips.values() if not vip.vip.key.is_exact]
    for family in (4, 6):
        vip_prefixes.build([entry for entry in entries if entry.key.address.version == family])


def _check_access(snapshot: Snapshot) -> None:
    lists = [vip.access for vip in snapshot.vips.values() if vip.access]
    check_access_lists(len(lists))
    if lists:
        access_index.build4(dict(enumerate(lists)))
        access_index.build6(dict(enumerate(lists)))
