# SPDX-License-Identifier: Apache-2.0
"""The health that each backend starts with, and what to check: pure functions of the snapshot."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from xdplb.control.health.health_source import CheckTarget, CheckTargets, VipWay
from xdplb.control.plan.eligibility import WAITING
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot, is_checked
from xdplb.control.state.touched import Touched
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck, goes_by_vip, probed_address, probed_port, with_path

__all__ = ["check_targets", "health_after", "health_at_start", "reissued"]


def health_after(
    changes: Collection[Touched], known: Mapping[int, KnownHealth], now: datetime
) -> dict[int, KnownHealth]:
    """Return the health of backends that changes of their VIPs set, by id; all others keep theirs.

    A backend that is not checked is up. A backend added to a VIP with a check is unknown. If a check is added, the
    backends of the VIP keep their health until it says otherwise: adding a check must not cut off backends that work.
    """
    changed: dict[int, KnownHealth] = {}
    fresh = reissued(changes)
    for each in changes:
        if (vip := each.after) is None:
            continue
        is_checked_as_before = each.before is None or _is_checked_alike(each.before, vip)
        for backend in each.got if is_checked_as_before else vip.backends.values():
            present = None if backend.id in fresh else known.get(backend.id)
            if (new := _health(vip, backend, present, now)) != present:
                changed[backend.id] = new
    return changed


def health_at_start(
    snapshot: Snapshot, known: Mapping[int, KnownHealth], held: AbstractSet[int], now: datetime
) -> dict[int, KnownHealth]:
    """Return the health that changes when a daemon starts on maps that hold the VIPs with the ids `held`, by id.

    The last known health is kept so that a restart moves no slot. For a VIP without slots, as after a boot, it may be
    hours old, so a backend with a check starts as unknown and waits for a pass.
    """
    changed: dict[int, KnownHealth] = {}
    for vip, backend in snapshot.backends():
        present = known.get(backend.id) if not is_checked(vip, backend) or vip.id in held else None
        if (new := _health(vip, backend, present, now)) != present:
            changed[backend.id] = new
    return changed


def reissued(changes: Iterable[Touched]) -> frozenset[int]:
    """Return the ids whose backend is not the same before and after these changes."""
    old, new = set[tuple[int, int]](), set[tuple[int, int]]()
    for each in changes:
        old.update((backend.id, backend.epoch) for backend in each.lost)
        new.update((backend.id, backend.epoch) for backend in each.got)
    return frozenset(backend_id for backend_id, _ in old ^ new)


def check_targets(
    changes: Iterable[Touched], known: CheckTargets
) -> tuple[tuple[int, ...], dict[int, tuple[CheckTarget, ...]]]:
    """Return which backends, by id, are checked no more, and what to check of those that are new or have changed.

    `known` is what was checked before these changes; what is in it already, is not returned again.
    """
    gone: set[int] = set()
    targets: dict[int, tuple[CheckTarget, ...]] = {}
    for each in changes:
        old, new = each.before, each.after
        if new is None or not new.checks:
            held = () if old is None else old.backends.values()
            gone.update(backend.id for backend in held if backend.id in known)
            continue
        gone.update(backend.id for backend in each.lost if backend.id in known)
        is_checked_as_before = old is not None and old.checks is new.checks and old.vip.forward is new.vip.forward
        for backend in each.got if is_checked_as_before else new.backends.values():
            if backend.backend.checked:
                targets[backend.id] = _targets(new, backend, known.get(backend.id))
            elif backend.id in known:
                gone.add(backend.id)
    return tuple(gone - targets.keys()), {
        number: target for number, target in targets.items() if known.get(number) is not target
    }


def _targets(vip: BoundVip, backend: BoundBackend, before: tuple[CheckTarget, ...] | None) -> tuple[CheckTarget, ...]:
    """Return what to check of a backend; `before` if it is the same."""
    if before is None or len(before) != len(vip.checks):
        return tuple([_target(vip, backend, check, None) for check in vip.checks])
    made = tuple([_target(vip, backend, check, was) for check, was in zip(vip.checks, before, strict=True)])
    return before if all(map(operator.is_, made, before)) else made


def _target(vip: BoundVip, backend: BoundBackend, check: HealthCheck, before: CheckTarget | None) -> CheckTarget:
    key, own, address = vip.vip.key, backend.backend, backend.backend.address
    port, forward = probed_port(check, key, own.check_port, own.port), vip.forward_of(own)
    if own.check_path is not None:
        check = with_path(check, own.check_path)
    way = VipWay(probed_address(key), forward) if goes_by_vip(check, key, forward, own.check_port) else None
    if (
        before is not None
        and before.check is check
        and before.address is address
        and (before.epoch, before.port, before.way) == (backend.epoch, port, way)
    ):
        return before
    return CheckTarget(backend.epoch, address, port, check, way)


def _is_checked_alike(one: BoundVip, other: BoundVip) -> bool:
    """Return whether what is known of backends of the one VIP holds as well if its checks are those of the other."""
    return (bool(one.checks), one.has_agents) == (bool(other.checks), other.has_agents)


def _health(vip: BoundVip, backend: BoundBackend, present: KnownHealth | None, now: datetime) -> KnownHealth:
    if present is not None and present.advice is not None and not (vip.has_agents and is_checked(vip, backend)):
        present = replace(present, advice=None)
    if is_checked(vip, backend):
        return present or KnownHealth(Health.UNKNOWN, WAITING, now)
    if present is not None and present.health is Health.UP:
        return present
    return KnownHealth(Health.UP, "", now)
