# SPDX-License-Identifier: Apache-2.0
"""A backend's load: how many open flows it has, counted for the schedulers that ask for it."""

from __future__ import annotations

from xdplb.dataplane.plane import VipEntry

from .journey import Journey

__all__ = ["add_load", "remove_load"]


def add_load(journey: Journey, vip: VipEntry, backend_id: int) -> None:
    """Count one flow more."""
    if _is_kept(vip):
        journey.effects.loads[backend_id] = _load(journey, backend_id) + 1


def remove_load(journey: Journey, vip: VipEntry, backend_id: int) -> None:
    """Count one flow less, but never below 0: the control plane corrects the count, and may have counted it already."""
    if _is_kept(vip):
        journey.effects.loads[backend_id] = max(0, _load(journey, backend_id) - 1)


def _load(journey: Journey, backend_id: int) -> int:
    # This packet may have changed it already: a record that replaces another takes from one backend, gives to another.
    loads = journey.effects.loads
    return loads[backend_id] if backend_id in loads else journey.state.loads.get(backend_id, 0)


def _is_kept(vip: VipEntry) -> bool:
    return vip.scheduler.is_by_load
