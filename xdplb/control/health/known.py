"""The health that each backend starts with, and what to check: pure functions of the snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from xdplb.control.health.checks import CheckTarget
from xdplb.control.plan.eligibility import WAITING
from xdplb.control.state.differing import differing
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.vip import VipKey

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
    for key in differing(before.vips, after.vips).present:
        vip, old = after.vips[key], before.vips.get(key)
        for backend in _concerned(old, vip):
            present = None if backend.id in fresh else known.get(backend.id)
            if (new := _health(vip, present, now)) != present:
                changed[backend.id] = new
    return changed


def _concerned(old: BoundVip | None, vip: BoundVip) -> Iterable[BoundBackend]:
    """Return the backends whose health a change of their VIP may set."""
    if old is None or (old.check is None) != (vip.check is None):
        return vip.backends.values()
    return [vip.backends[address] for address in differing(old.backends, vip.backends).present]


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
    old, new = set[tuple[int, int]](), set[tuple[int, int]]()
    difference = differing(before.vips, after.vips)
    for key in (*difference.gone, *difference.new, *difference.changed):
        held, wanted = _backends(before, key), _backends(after, key)
        backends = differing(held, wanted)
        old.update((held[address].id, held[address].epoch) for address in (*backends.gone, *backends.changed))
        new.update((wanted[address].id, wanted[address].epoch) for address in backends.present)
    return frozenset(backend_id for backend_id, _ in old ^ new)


def _backends(snapshot: Snapshot, key: VipKey) -> Mapping[IPAddress, BoundBackend]:
    vip = snapshot.vips.get(key)
    return {} if vip is None else vip.backends


def check_targets(
    before: Snapshot, after: Snapshot, known: Mapping[int, CheckTarget]
) -> tuple[tuple[int, ...], dict[int, CheckTarget]]:
    """Return which backends, by id, are checked no more, and what to check of those that are new or have changed.

    `known` is what was checked for `before`; what is in it already, is not returned again.
    """
    gone: set[int] = set()
    targets: dict[int, CheckTarget] = {}
    difference = differing(before.vips, after.vips)
    for key in (*difference.gone, *difference.new, *difference.changed):
        old, new = before.vips.get(key), after.vips.get(key)
        held, wanted = _backends(before, key), _backends(after, key)
        backends = differing(held, wanted)
        if new is None or new.check is None:
            gone.update(backend.id for backend in held.values() if backend.id in known)
            continue
        gone.update(held[address].id for address in (*backends.gone, *backends.changed) if held[address].id in known)
        same = old is not None and old.check is new.check
        port = new.check.port or new.vip.key.port
        for backend in [wanted[address] for address in backends.present] if same else wanted.values():
            targets[backend.id] = _target(backend, port, new.check, known.get(backend.id))
    return tuple(gone - targets.keys()), {
        number: target for number, target in targets.items() if known.get(number) is not target
    }


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
