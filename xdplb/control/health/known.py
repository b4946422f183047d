"""The health that each backend starts with, and what to check: pure functions of the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from xdplb.control.health.checks import CheckTarget
from xdplb.control.plan.eligibility import WAITING
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck

__all__ = ["check_targets", "health_after", "health_at_start", "reissued"]


def health_after(
    before: Snapshot, after: Snapshot, known: Mapping[int, KnownHealth], now: datetime
) -> dict[int, KnownHealth]:
    """Return the health of backends that an edit sets, by id; all others keep theirs.

    Without a check a backend is up. A backend added to a VIP with a check is unknown. If a check is added, the backends
    of the VIP keep their health until it says otherwise: adding a check must not cut off backends that work.
    """
    changed: dict[int, KnownHealth] = {}
    fresh = reissued(before, after)
    for key, vip in after.vips.items():
        if before.vips.get(key) is vip:
            continue
        for backend in vip.backends.values():
            present = None if backend.id in fresh else known.get(backend.id)
            if (new := _health(vip, present, now)) != present:
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
        present = known.get(backend.id) if vip.check is None or vip.id in held else None
        if (new := _health(vip, present, now)) != present:
            changed[backend.id] = new
    return changed


def reissued(before: Snapshot, after: Snapshot) -> frozenset[int]:
    """Return the ids whose backend is not the same in `before` and in `after`."""
    return frozenset(backend_id for backend_id, _ in _changed_holders(before, after) ^ _changed_holders(after, before))


def _changed_holders(snapshot: Snapshot, other: Snapshot) -> set[tuple[int, int]]:
    """Return id and epoch of the backends in those VIPs of `snapshot` that differ in `other`."""
    return {
        (backend.id, backend.epoch)
        for key, vip in snapshot.vips.items()
        if other.vips.get(key) is not vip
        for backend in vip.backends.values()
    }


def check_targets(snapshot: Snapshot, before: Mapping[int, CheckTarget]) -> dict[int, CheckTarget]:
    """Return what to check, by backend id. An unchanged target is the same object as in `before`."""
    targets: dict[int, CheckTarget] = {}
    for vip in snapshot.vips.values():
        if vip.check is not None:
            port = vip.check.port or vip.vip.key.port
            for backend in vip.backends.values():
                targets[backend.id] = _target(backend, port, vip.check, before.get(backend.id))
    return targets


def _target(backend: BoundBackend, port: int, check: HealthCheck, before: CheckTarget | None) -> CheckTarget:
    address = backend.backend.address
    if (
        before is not None
        and before.check is check
        and before.address is address
        and (before.epoch, before.port) == (backend.epoch, port)
    ):
        return before
    return CheckTarget(backend.epoch, address, port, check)


def _health(vip: BoundVip, present: KnownHealth | None, now: datetime) -> KnownHealth:
    if vip.check is not None:
        return present or KnownHealth(Health.UNKNOWN, WAITING, now)
    if present is not None and present.health is Health.UP:
        return present
    return KnownHealth(Health.UP, "", now)
