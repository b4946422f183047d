# SPDX-License-Identifier: Apache-2.0
"""Forecasting the effect of a change or an event: one place for dry runs, what-if questions and the change itself.

A forecast contains a plan that can be carried out as it is. So a dry run gives the same figures as the change, and
the change need not be planned twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from xdplb.control.plan.desired_diff import DiffKind, diff
from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.exposure import Exposure, exposures
from xdplb.control.plan.host_concerns import host_concerns
from xdplb.control.plan.impact import Done, Impact, impact_of
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.desired import NO_ACCESS_LIST
from xdplb.control.state.differing import differing
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.dataplane import access_index, vip_prefixes
from xdplb.dataplane.capacity import check_access_lists, growth_hint
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import Capacity, VipEntry
from xdplb.dataplane.source import nat_ports
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.errors import CapacityError

__all__ = ["Forecast", "Present", "check_room", "forecast", "if_down"]


@dataclass(frozen=True, slots=True)
class Present:
    """The situation before the change: what the maps hold, and the features that the program is compiled for.

    `eligibility` is that of each backend, by id; `flows` the number of recorded flows of each, an array by id, None if
    not known.
    """

    held: Held
    features: Features
    eligibility: Mapping[int, Eligibility]
    flows: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A plan, what the maps hold before it and after it (`done`), its impact on traffic, and whom it exposes."""

    done: Done
    impact: Impact
    exposed: tuple[Exposure, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.done.plan

    @property
    def held(self) -> Held:
        """What the maps hold before it."""
        return self.done.before

    @property
    def after(self) -> Held:
        """What the maps hold after it."""
        return self.done.after


def forecast(
    before: Snapshot,
    after: Snapshot,
    observed: Observed,
    present: Present,
    *,
    only: AbstractSet[int] | None = None,
    seen: Mapping[int, AbstractSet[int]] = MappingProxyType({}),
    about: AbstractSet[int] | None = None,
) -> Forecast:
    """Return the plan that brings the maps to `after`, with its impact. See check_room for whether they have room.

    `observed`, `only` and `seen` are as in `plan`. The impact covers the VIPs with the ids `about`, None for all: the
    plan may also contain other changes that were due anyway.
    """
    planned = plan(after, observed, present.held, only, seen)
    held_then = planned.after(present.held)
    changes = diff(before.desired, after.desired)
    lacking = planned.features - present.features
    done = Done(planned, present.held, held_then, present.eligibility)
    impact = impact_of(changes, done, lacking, present.flows, about)
    new = [change.vip for change in changes if change.kind is DiffKind.VIP_ADDED]
    impact = replace(
        impact, warnings=(*impact.warnings, *host_concerns(new, observed.sources, observed.tunnel_sources))
    )
    return Forecast(done, impact, exposures(before, changes, done, about))


def if_down(
    snapshot: Snapshot,
    backend: BoundBackend,
    observed: Observed,
    present: Present,
    *,
    only: AbstractSet[int],
    now: datetime,
) -> Forecast:
    """Return what would happen to the VIPs with the ids `only` if this backend's check failed now."""
    known = observed.health.get(backend.id)
    was_up = known is not None and (known.health is Health.UP or known.was_up)
    advice = None if known is None else known.advice
    down = KnownHealth(Health.DOWN, "it is assumed to be down", now, was_up, advice)
    seen = replace(observed, health={**observed.health, backend.id: down})
    return forecast(snapshot, snapshot, seen, present, only=only, about=only)


def check_room(before: Snapshot, after: Snapshot, capacity: Capacity) -> None:
    """Raise CapacityError if the maps cannot hold what is new in `after`. Takes seconds for very long access lists."""
    difference = differing(before.vips, after.vips)
    if not all(key.is_exact for key in (*difference.gone, *difference.new)):
        _check_prefixes(after)
    _check_nat(before, after, capacity)
    known = {key: before.vips[key].access if key in before.vips else NO_ACCESS_LIST for key in difference.present}
    if any(after.vips[key].access is not access for key, access in known.items()):
        _check_access(after)


def _check_prefixes(snapshot: Snapshot) -> None:
    entries = [VipEntry.of(vip.id, vip.vip) for vip in snapshot.vips.values() if not vip.vip.key.is_exact]
    for family in (4, 6):
        vip_prefixes.build([entry for entry in entries if entry.key.address.version == family])


def _check_nat(before: Snapshot, after: Snapshot, capacity: Capacity) -> None:
    taken, room = after.nat_ports, nat_ports(capacity)
    if room < taken > before.nat_ports:
        raise CapacityError(
            f"this needs {taken} ports of NAT backends, and there is room for {room}", hint=growth_hint("backends")
        )


def _check_access(snapshot: Snapshot) -> None:
    lists = [vip.access for vip in snapshot.vips.values() if vip.access]
    check_access_lists(len(lists))
    if lists:
        access_index.build4(dict(enumerate(lists)))
        access_index.build6(dict(enumerate(lists)))
