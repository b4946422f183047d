# SPDX-License-Identifier: Apache-2.0
"""Which VIPs must be planned again: a health flip among thousands of backends concerns one VIP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.control.state.touched import Touched
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Dirty", "Index"]


@dataclass(slots=True)
class Dirty:
    """The ids of VIPs whose maps may be out of date, or `everything`.

    With each VIP are the ids of its backends about which something new was observed.
    """

    vips: dict[int, set[int]] = field(default_factory=dict)
    everything: bool = True

    @property
    def only(self) -> frozenset[int] | None:
        """The ids of the VIPs to plan, None for everything."""
        return None if self.everything else frozenset(self.vips)

    @property
    def seen(self) -> dict[int, frozenset[int]]:
        """The ids of the backends about which something new was observed, by VIP id; none with `everything`."""
        if self.everything:  # also what the maps hold may be something else than what was written
            return {}
        return {vip_id: frozenset(ids) for vip_id, ids in self.vips.items()}

    def touch(self, vip_id: int, backend_ids: Iterable[int] = ()) -> None:
        """Add a VIP, and its backends about which something new was observed; its settings may have changed too."""
        self.vips.setdefault(vip_id, set()).update(backend_ids)

    def add(self, other: Dirty) -> None:
        """Add everything that is dirty in `other`."""
        for vip_id, ids in other.vips.items():
            self.touch(vip_id, ids)
        self.everything |= other.everything

    def clear(self) -> None:
        """Note that all maps are up to date."""
        self.vips, self.everything = {}, False

    def copied(self) -> Dirty:
        """Return the same, for a plan that is not carried out."""
        return Dirty({vip_id: set(ids) for vip_id, ids in self.vips.items()}, self.everything)

    def note(self, changes: Iterable[Touched]) -> frozenset[int]:
        """Add the VIPs that a change touched, and return their ids."""
        ids = frozenset([vip.id for each in changes for vip in (each.before, each.after) if vip is not None])
        for vip_id in ids:
            self.touch(vip_id)
        return ids


class Index:
    """Looks up a snapshot's backends by id and by address. A change of the snapshot costs what it changes."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._places: dict[int, tuple[VipKey, IPAddress]] = {}
        self._by_address: defaultdict[IPAddress, set[int]] = defaultdict(set)
        self.draining: set[int] = set()
        """The ids of the backends that drain."""
        self.overlaid: frozenset[int] = frozenset()
        """The ids of the backends under an overlay. Replaced as a whole."""
        self.sampled: dict[int, VipKey] = {}
        """The keys of the VIPs whose handshakes are sampled, by id."""

    def follow(self, snapshot: Snapshot, changes: Collection[Touched]) -> None:
        """Look up in this snapshot from now on, which differs by these changes from the one before."""
        self._snapshot = snapshot
        self.sampled = self._sampled_after(changes)
        for each in changes:  # first all that go, since others may have their ids
            for backend in each.lost:
                del self._places[backend.id]
                self.draining.discard(backend.id)
                self._by_address[backend.backend.address].discard(backend.id)
                if not self._by_address[backend.backend.address]:
                    del self._by_address[backend.backend.address]
        lost = {backend.id for each in changes for backend in each.lost if backend.desired.declared is not None}
        laid = {backend.id for each in changes for backend in each.got if backend.desired.declared is not None}
        if lost or laid:
            self.overlaid = (self.overlaid - lost) | laid
        for each in changes:
            for backend in each.got:
                self._places[backend.id] = each.key, backend.backend.address
                if backend.drain is not None:
                    self.draining.add(backend.id)
                self._by_address[backend.backend.address].add(backend.id)

    def _sampled_after(self, changes: Iterable[Touched]) -> dict[int, VipKey]:
        """Return which VIPs are sampled after these changes; the same if they are as before."""
        was = {each.before.id for each in changes if each.before is not None and each.before.id in self.sampled}
        now = [each.after for each in changes if each.after is not None and each.after.vip.samples_handshakes]
        if not was and not now:
            return self.sampled
        kept = {vip_id: key for vip_id, key in self.sampled.items() if vip_id not in was}
        return kept | {vip.id: vip.vip.key for vip in now}

    def backend(self, backend_id: int) -> tuple[BoundVip, BoundBackend]:
        """Return the backend with this id, and its VIP."""
        key, address = self._places[backend_id]
        vip = self._snapshot.vips[key]
        return vip, vip.backends[address]

    def find_backend(self, backend_id: int) -> tuple[BoundVip, BoundBackend] | None:
        """Return the backend with this id, and its VIP; None if there is none."""
        return self.backend(backend_id) if backend_id in self._places else None

    def vips_of(self, address: IPAddress) -> dict[int, int]:
        """Return the ids of the VIPs that have this backend, each with the backend's id there."""
        return {self._snapshot.vips[self._places[number][0]].id: number for number in self.backends_at(address)}

    def keys_of(self, address: IPAddress) -> Iterator[VipKey]:
        """Yield the keys of the VIPs that have this backend."""
        return (self._places[number][0] for number in self._by_address.get(address, ()))

    def backends_at(self, address: IPAddress) -> set[int]:
        """Return the ids of the backends with this address, one for each VIP that has it."""
        return set(self._by_address.get(address, ()))
