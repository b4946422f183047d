# SPDX-License-Identifier: Apache-2.0
"""A state made from what the maps hold, as far as they tell. Pure.

Ids and epochs stay as they are in the maps, so that slots and flow records go on naming the same backends. What maps do
not hold comes from an older state of the same maps where there is one, else it is lost: names, health checks, what
happens when backends fail, drains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import gcd

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.held_table import HeldTable
from xdplb.control.state.bindings import BackendBinding, Bindings, VipBinding
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredBackend, DesiredVip
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.dataplane.plane import BackendEntry, Reading, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.backend import WEIGHT_RANGE, AdminState, Backend, Health, KnownHealth
from xdplb.model.vip import AllUnhealthy, Forward, Tracking, Vip, VlanTags

__all__ = ["Adopted", "adopt", "weights_of"]

_ADOPTED = "adopted from the maps"
_MOST_OF_THE_SMALLEST = 100
_SLOTS = 3
"""By how many slots a table may miss a share: each share is rounded to whole slots."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A state made from maps, the health that its backends start with, by id, and what the maps did not tell."""

    snapshot: Snapshot
    health: Mapping[int, KnownHealth] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A VIP as it was found: `owners` are the shares of its table, `known` is the VIP in an older state."""

    entry: VipEntry
    backends: tuple[BackendEntry, ...]
    owners: Mapping[int, float]
    access: AccessList
    known: BoundVip | None

    def serves(self, backend: BackendEntry) -> bool:
        """Return whether a backend gets new connections."""
        return backend.usable and backend.id in self.owners

    def known_backend(self, backend: BackendEntry) -> DesiredBackend | None:
        """Return what the older state has about a backend, None if it was another one then."""
        before = None if self.known is None else self.known.backends.get(backend.address)
        if before is None or (before.id, before.epoch) != (backend.id, backend.epoch):
            return None
        return before.desired


def adopt(maps: Reading, older: Snapshot, generation: int, now: datetime) -> Adopted:
    """Return the state that the maps hold, as this generation. `older` is an older state of the same maps, or empty."""
    backends, access = maps.read_backends(), maps.read_access()
    made = []
    for vip_id, entry in sorted(maps.read_vips().items()):
        mine = tuple(backend for _, backend in sorted(backends.items()) if backend.vip_id == vip_id)
        table = maps.read_table(vip_id)
        owners = {} if table is None else HeldTable.of(table).shares
        known = older.vips.get(entry.key)
        known = known if known is not None and known.id == vip_id else None
        made.append(_Found(entry, mine, owners, access.get(vip_id, NO_ACCESS_LIST), known))
    vips = {found.entry.key: _vip(found) for found in made}
    desired = Desired(vips, older.desired.settings, older.desired.owner)
    bindings = {
        found.entry.key: VipBinding(
            found.entry.id, {one.address: BackendBinding(one.id, one.epoch) for one in found.backends}
        )
        for found in made
    }
    epochs = {**older.bindings.epochs, **{one.id: one.epoch for one in backends.values()}}
    generations = Generations(
        generation,
        {key: VipGenerations(generation, dict.fromkeys(vip.backends, generation)) for key, vip in vips.items()},
    )
    health = {
        one.id: KnownHealth(_health(found, one, vips[found.entry.key]), _ADOPTED, now)
        for found in made
        for one in found.backends
    }
    lost = [line for found in made for line in _lost(found, vips[found.entry.key])]
    return Adopted(Snapshot.of(desired, Bindings(bindings, epochs), generations), health, tuple(lost))


def weights_of(shares_by_id: Mapping[int, float], likely: Mapping[int, int]) -> dict[int, int]:
    """Return weights that give these shares of a table: the likely ones, if they do, else small whole numbers.

    They are right within a few slots or, if need be, within 1 %. Where there are none, as while some of the backends
    are out, the numbers of slots themselves.
    """
    if not shares_by_id:
        return {}
    known = {key: likely.get(key, 0) for key in shares_by_id}
    if all(known.values()) and _give(known, shares_by_id, 0.01):
        return known
    smallest = min(shares_by_id.values())
    for tolerance in (0.0, 0.01):
        for unit in range(1, _MOST_OF_THE_SMALLEST + 1):
            weights = {key: round(share / smallest * unit) for key, share in shares_by_id.items()}
            if max(weights.values()) <= WEIGHT_RANGE[1] and _give(weights, shares_by_id, tolerance):
                return weights
    return {key: min(max(1, round(share * TABLE_SIZE)), WEIGHT_RANGE[1]) for key, share in shares_by_id.items()}


def _give(weights: Mapping[int, int], shares_by_id: Mapping[int, float], tolerance: float) -> bool:
    """Return whether these weights give these shares, within a few slots and `tolerance` of each."""
    total = sum(weights.values())
    return all(
        abs(weights[key] / total - share) <= _SLOTS / TABLE_SIZE + tolerance * share
        for key, share in shares_by_id.items()
    )


def _vip(found: _Found) -> DesiredVip:
    entry, known = found.entry, found.known
    told = Vip(
        entry.key,
        forward=_forward(found),
        scheduler=entry.scheduler,
        tracking=Tracking.ALWAYS if entry.track_always else Tracking.AUTO,
        hash=entry.hash,
        all_unhealthy=AllUnhealthy.REJECT if entry.rejects else AllUnhealthy.FAIL_OPEN,
        idle_timeout_seconds=entry.idle_seconds,
        vlan=VlanTags.KEEP if any(backend.keep_tags for backend in found.backends) else VlanTags.NEXT_HOP,
        quic=entry.quic,
        limits=entry.limits,
        nat_direct=next((each.nat.direct for each in found.backends if each.nat is not None), ()),
    )
    weights = _weights(found)
    backends = {one.address: _backend(found, one, told, weights) for one in found.backends}
    if known is None:
        return DesiredVip(told, (), backends, found.access)
    told = replace(told, **{name: getattr(known.vip, name) for name in _NOT_IN_MAPS})
    return DesiredVip(told, known.checks, backends, known.access if found.access and known.access else found.access)


_NOT_IN_MAPS = (
    *("name", "on_unhealthy", "all_unhealthy", "min_serving", "panic_share", "slow_start_seconds"),
    *("passive", "syn_failover", "announce", "sync", "dns"),
)
"""What of a VIP only the state has."""


def _forward(found: _Found) -> Forward:
    """Return how a VIP forwards: as it was known to, else as most of its backends are reached."""
    if found.known is not None:
        return found.known.vip.forward
    counted = Counter(backend.forward for backend in found.backends)
    return counted.most_common(1)[0][0] if counted else Forward.DR


def _weights(found: _Found) -> Mapping[int, int]:
    """Return the weights by id, of those that the table or the entries tell."""
    scheduler = found.entry.scheduler
    if found.known is not None and found.known.vip.slow_start_seconds:  # the maps may tell of a part of its weight
        return {one.id: one.backend.weight for one in found.known.backends.values() if one.backend.weight}
    if scheduler.weighs_load:
        return _in_range({backend.id: backend.weight for backend in found.backends})
    if scheduler.is_by_load or (scheduler.takes_turns and not scheduler.weighs_turns):
        return {}
    known = {} if found.known is None else found.known.backends
    ids = {backend.id for backend in found.backends}
    likely = {one.id: one.backend.weight for one in known.values()}
    return weights_of({owner: share for owner, share in found.owners.items() if owner in ids}, likely)


def _in_range(weights: Mapping[int, int]) -> Mapping[int, int]:
    """Return weights as a backend may have them: with slow start, those in the maps are in parts of a weight."""
    most = WEIGHT_RANGE[1]
    divisor = gcd(*weights.values()) if max(weights.values(), default=0) > most else 1
    return {number: min(weight // divisor, most) for number, weight in weights.items()}


def _backend(found: _Found, entry: BackendEntry, vip: Vip, weights: Mapping[int, int]) -> DesiredBackend:
    """Return a backend that is used as it is in the maps. Why it is not used is known from the older state alone."""
    serves = found.serves(entry)
    told = Backend(
        entry.address,
        weight=0 if entry.usable and not serves else weights.get(entry.id, 1),
        forward=None if entry.forward is vip.forward else entry.forward,
        admin_state=AdminState.READY if entry.usable else AdminState.MAINT,
        quic_server_id=None if entry.quic_server_id is None else entry.quic_server_id.hex(),
        port=None if entry.nat is None or entry.nat.shift == 0 else (vip.key.port + entry.nat.shift) % 2**16,
    )
    known = found.known_backend(entry)
    if known is None:
        return DesiredBackend(told)
    if serves:
        weight = weights.get(entry.id, known.backend.weight)
        served = replace(
            known.backend,
            weight=weight,
            forward=told.forward,
            admin_state=AdminState.READY,
            quic_server_id=told.quic_server_id,
            port=told.port,
        )
        return DesiredBackend(served, declared=known.declared)
    # It drains, is in maintenance, or its check has failed: what was asked of it says which.
    asked = replace(known.backend, forward=told.forward, quic_server_id=told.quic_server_id, port=told.port)
    return replace(known, backend=asked)


def _health(found: _Found, entry: BackendEntry, vip: DesiredVip) -> Health:
    """Return the health with which a backend is used as it is in the maps."""
    backend = vip.backends[entry.address].backend
    asked_out = backend.admin_state is not AdminState.READY or not backend.weight
    if not vip.checks or not backend.checked or (entry.usable and (found.serves(entry) or asked_out)):
        return Health.UP
    return Health.UNKNOWN if entry.usable else Health.DOWN


def _lost(found: _Found, vip: DesiredVip) -> list[str]:
    """Return what is not certain of a VIP, as sentences."""
    key, lines = vip.vip.key, []
    if found.known is None:
        lines.append(f"{key}: its name and health check, and what it does when backends fail, are not known")
    for entry in found.backends:
        if found.serves(entry) or found.known_backend(entry) is not None:
            continue
        if entry.usable:
            lines.append(f"{key}: {entry.address} got no new connections: its weight is 0 now")
        else:
            lines.append(f"{key}: {entry.address} got no packets: it is in maintenance now")
    return lines
