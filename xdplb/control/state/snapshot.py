# SPDX-License-Identifier: Apache-2.0
"""The desired state with this host's ids and generations, at one moment. Everything except the edits reads this.

Every change replaces the snapshot as a whole, so that a reader never sees half of a change. Unchanged parts stay the
same objects, so that two snapshots can be compared by identity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from xdplb.control.state.bindings import BackendBinding, Bindings, VipBinding, bind
from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.differing import Differing, carried, differing, have_same_keys, without
from xdplb.control.state.generations import Generations, VipGenerations, stamp
from xdplb.control.state.store_copy import NO_COPY, StoreCopy
from xdplb.dataplane.plane import Capacity
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.nat import room_taken
from xdplb.model.vip import Forward, Vip, VipKey

__all__ = ["BoundBackend", "BoundVip", "Snapshot", "is_checked"]


@dataclass(frozen=True, slots=True)
class BoundBackend:
    """A backend with its id and epoch in the maps; `generation` is the last change that touched it."""

    id: int
    epoch: int
    desired: DesiredBackend
    generation: int

    @property
    def backend(self) -> Backend:
        """The backend's settings."""
        return self.desired.backend

    @property
    def drain(self) -> Drain | None:
        """Its drain, None if it is not draining."""
        return self.desired.drain


@dataclass(frozen=True, slots=True)
class BoundVip:
    """A VIP with its id in the maps; `generation` is the last change to it or anything that belongs to it."""

    id: int
    desired: DesiredVip
    generation: int
    backends: Mapping[IPAddress, BoundBackend] = field(default_factory=dict)

    @property
    def vip(self) -> Vip:
        """The VIP's settings."""
        return self.desired.vip

    @property
    def checks(self) -> tuple[HealthCheck, ...]:
        """The health checks of its backends, all of which must pass; none if they are not checked."""
        return self.desired.checks

    @property
    def has_agents(self) -> bool:
        """Whether one of the checks may say how much a backend shall get."""
        return any(check.type.advises for check in self.desired.checks)

    @property
    def access(self) -> AccessList:
        """Its access list."""
        return self.desired.access

    def forward_of(self, backend: Backend) -> Forward:
        """Return how packets reach `backend`: its own setting, else the VIP's."""
        return self.desired.forward_of(backend)


def is_checked(vip: BoundVip, backend: BoundBackend) -> bool:
    """Return whether checks say if this backend of `vip` is up; else it counts as up."""
    return bool(vip.desired.checks) and backend.desired.backend.checked


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The desired state, its bindings and its generations, and the three joined, by VIP (`by_id`: by its id).

    `copy` says of which state in a store that several balancers share it is the copy.
    """

    desired: Desired = field(default_factory=Desired)
    bindings: Bindings = field(default_factory=Bindings)
    generations: Generations = field(default_factory=Generations)
    vips: Mapping[VipKey, BoundVip] = field(default_factory=dict)
    by_id: Mapping[int, BoundVip] = field(default_factory=dict)
    copy: StoreCopy = NO_COPY
    _nat_ports: int | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, desired: Desired, bindings: Bindings, generations: Generations, copy: StoreCopy = NO_COPY) -> Snapshot:
        """Return the snapshot of these."""
        vips = {
            key: _joined(vip, bindings.vips[key], generations.vips[key], None, None)
            for key, vip in desired.vips.items()
        }
        return cls(desired, bindings, generations, vips, {vip.id: vip for vip in vips.values()}, copy)

    def then(self, desired: Desired, capacity: Capacity) -> Snapshot:
        """Return the snapshot after a change to `desired`; CapacityError if there are no ids left.

        All that the change does not touch are the same objects, and cost nothing.
        """
        difference = differing(self.desired.vips, desired.vips)
        generations = stamp(self.desired, desired, self.generations)
        return self._with(desired, generations, difference, difference.present, capacity)

    def given(self, desired: Desired, generations: Generations, copy: StoreCopy, capacity: Capacity) -> Snapshot:
        """Return the snapshot after a change that another balancer has made and numbered; as `then` in all else."""
        difference = differing(self.desired.vips, desired.vips)
        numbered = differing(self.generations.vips, generations.vips).changed
        touched = tuple(dict.fromkeys((*difference.present, *numbered)))
        return replace(self._with(desired, generations, difference, touched, capacity), copy=copy)

    def _with(
        self,
        desired: Desired,
        generations: Generations,
        difference: Differing[VipKey],
        touched: Collection[VipKey],
        capacity: Capacity,
    ) -> Snapshot:
        """Return the snapshot with these, which differ from its own in the VIPs that are `touched`, and in `gone`."""
        bindings = bind(desired, self.bindings, capacity, difference.present)
        joined = {
            key: _joined(
                desired.vips[key],
                bindings.vips[key],
                generations.vips[key],
                self.vips.get(key),
                self.generations.vips.get(key),
            )
            for key in touched
        }
        vips = carried(self.vips, difference.gone, joined, desired.vips)
        replaced = [self.vips[key].id for key in (*difference.gone, *joined) if key in self.vips]
        by_id = without(self.by_id, replaced)
        by_id.update((vip.id, vip) for vip in joined.values())
        nat_ports = self.nat_ports - sum(map(_nat_ports, map(self.vips.__getitem__, difference.gone)))
        nat_ports += sum(_more_nat_ports(self.vips.get(key), vip) for key, vip in joined.items())
        return Snapshot(desired, bindings, generations, vips, by_id, self.copy, nat_ports)

    def copied(self, copy: StoreCopy) -> Snapshot:
        """Return the same state as a copy of another one in the store."""
        return replace(self, copy=copy)

    @property
    def nat_ports(self) -> int:
        """How many entries the ports of NAT backends take. Counted once, and after a change from those before it."""
        if self._nat_ports is None:
            object.__setattr__(self, "_nat_ports", sum(map(_nat_ports, self.vips.values())))
        assert self._nat_ports is not None
        return self._nat_ports

    @property
    def generation(self) -> int:
        """The number of the last change."""
        return self.generations.current

    def addresses(self) -> frozenset[IPAddress]:
        """Return the addresses of all backends."""
        return frozenset(self.desired.places.backends)

    def backends(self) -> Iterator[tuple[BoundVip, BoundBackend]]:
        """Yield every backend with its VIP."""
        for vip in self.vips.values():
            for backend in vip.backends.values():
                yield vip, backend


def _nat_ports(vip: BoundVip) -> int:
    """Return how many entries the NAT backends of a VIP take."""
    return sum(vip.forward_of(backend.backend) is Forward.NAT for backend in vip.backends.values()) * room_taken(
        vip.vip.key
    )


def _more_nat_ports(before: BoundVip | None, after: BoundVip) -> int:
    """Return how many entries more a VIP's NAT backends take than before. It costs what changes."""
    if before is None or before.vip.forward is not after.vip.forward:
        return _nat_ports(after) - (0 if before is None else _nat_ports(before))
    difference = differing(before.backends, after.backends)
    more = [after.forward_of(after.backends[address].backend) for address in difference.present]
    fewer = [before.forward_of(before.backends[address].backend) for address in difference.past]
    return (more.count(Forward.NAT) - fewer.count(Forward.NAT)) * room_taken(after.vip.key)


def _joined(
    vip: DesiredVip,
    binding: VipBinding,
    generations: VipGenerations,
    before: BoundVip | None,
    numbered: VipGenerations | None,
) -> BoundVip:
    """Return a VIP as it is now; `before` is as it was, and `numbered` its generations then."""
    if before is None or numbered is None:
        return BoundVip(binding.id, vip, generations.latest, _joined_backends(vip, binding, generations))
    known, joined = before.desired.backends, before.backends
    difference = differing(known, vip.backends)
    given = {
        address: _joined_backend(
            vip.backends[address], binding.backends[address], generations.backends[address], joined.get(address)
        )
        for address in (*difference.present, *differing(numbered.backends, generations.backends).changed)
    }
    backends = carried(joined, difference.gone, given, vip.backends)
    return BoundVip(binding.id, vip, generations.latest, backends)


def _joined_backends(
    vip: DesiredVip, binding: VipBinding, generations: VipGenerations
) -> Mapping[IPAddress, BoundBackend]:
    """Return all backends of a VIP."""
    bindings, numbers = binding.backends, generations.backends
    if have_same_keys(vip.backends, bindings) and have_same_keys(vip.backends, numbers):
        # As read from the store. Nothing is looked up: hashing addresses would take most of the time.
        rows = zip(vip.backends.items(), bindings.values(), numbers.values(), strict=True)
        return {address: BoundBackend(*bound, backend, number) for (address, backend), bound, number in rows}
    return {
        address: BoundBackend(*bindings[address], backend, numbers[address])
        for address, backend in vip.backends.items()
    }


def _joined_backend(
    backend: DesiredBackend, binding: BackendBinding, generation: int, before: BoundBackend | None
) -> BoundBackend:
    joined = BoundBackend(*binding, backend, generation)
    return before if before is not None and before == joined else joined
