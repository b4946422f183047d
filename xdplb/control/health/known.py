"""Which health each backend starts with, and what is to be checked: pure functions of the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from xdplb.control.health.checks import CheckTarget
from xdplb.control.state.snapshot import BoundBackend, BoundVip, KnownHealth, Snapshot
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck

__all__ = ["WAITING", "added", "check_targets", "health_after", "health_at_start", "reissued"]

WAITING = "no pass yet"


def health_after(
    before: Snapshot, after: Snapshot, known: Mapping[int, KnownHealth], now: datetime
) -> dict[int, KnownHealth]:
    """Return the healths that an edit sets; those not in it stay as they are.

    Without a check a backend is up. One that comes with a check is unknown; one that was there when the check came
    keeps its health until the check says otherwise, since a check is no reason to cut what works.
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
    """Return the healths that differ from those last known when a daemon starts on maps with the VIPs `held`, by id.

    Last known health is there so that a restart moves no slot. Where there are no slots to move, as after a boot, it
    is hours old perhaps, and a backend with a check waits for a pass.
    """
    changed: dict[int, KnownHealth] = {}
    for vip, backend in snapshot.backends():
        present = known.get(backend.id) if vip.check is None or vip.id in held else None
        if (new := _health(vip, present, now)) != present:
            changed[backend.id] = new
    return changed


def reissued(before: Snapshot, after: Snapshot) -> frozenset[int]:
    """Return the ids whose holder in `before`, if any, is not their holder in `after`."""
    return frozenset(backend_id for backend_id, _ in _changed_holders(before, after) ^ _changed_holders(after, before))


def added(before: Snapshot, after: Snapshot) -> frozenset[int]:
    """Return the ids of backends that are in `after` alone."""
    return frozenset(backend_id for backend_id, _ in _changed_holders(after, before) - _changed_holders(before, after))


def _changed_holders(snapshot: Snapshot, other: Snapshot) -> set[tuple[int, int]]:
    """Return id and epoch of the backends in the VIPs of `snapshot` that are not the same in `other`."""
    return {
        (backend.id, backend.epoch)
        for key, vip in snapshot.vips.items()
        if other.vips.get(key) is not vip
        for backend in vip.backends.values()
    }


def check_targets(snapshot: Snapshot, before: Mapping[int, CheckTarget]) -> dict[int, CheckTarget]:
    """Return what is to be checked, by backend id. Where that is what it was `before`, it is the same object."""
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
