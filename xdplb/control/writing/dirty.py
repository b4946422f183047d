"""Which VIPs must be planned again: a health flip among thousands of backends concerns one VIP."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from xdplb.control.state.differing import differing
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Dirty", "Index", "touched_vips"]


@dataclass(slots=True)
class Dirty:
    """The ids of VIPs whose maps may be out of date, or `everything`."""

    vips: set[int] = field(default_factory=set)
    everything: bool = True

    @property
    def only(self) -> frozenset[int] | None:
        """The ids of the VIPs to plan, None for everything."""
        return None if self.everything else frozenset(self.vips)

    def add(self, other: Dirty) -> None:
        """Add everything that is dirty in `other`."""
        self.vips |= other.vips
        self.everything |= other.everything

    def clear(self) -> None:
        """Note that all maps are up to date."""
        self.vips, self.everything = set(), False

    def note(self, before: Snapshot, after: Snapshot) -> None:
        """Add the VIPs that a change touched."""
        self.vips |= touched_vips(before, after)


class Index:
    """Looks up a snapshot's backends by id and by address. A change of the snapshot costs what it changes."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._places: dict[int, tuple[VipKey, IPAddress]] = {}
        self._by_address: defaultdict[IPAddress, set[int]] = defaultdict(set)

    def follow(self, snapshot: Snapshot) -> None:
        """Look up in this snapshot from now on."""
        before, self._snapshot = self._snapshot, snapshot
        vips = differing(before.vips, snapshot.vips)
        touched = [
            _Touched(key, before.vips.get(key), snapshot.vips.get(key))
            for key in (*vips.gone, *vips.changed, *vips.new)
        ]
        for each in touched:  # first all that go, since others may have their ids
            for backend in each.gone:
                del self._places[backend.id]
                self._by_address[backend.backend.address].discard(backend.id)
                if not self._by_address[backend.backend.address]:
                    del self._by_address[backend.backend.address]
        for each in touched:
            for backend in each.present:
                self._places[backend.id] = each.key, backend.backend.address
                self._by_address[backend.backend.address].add(backend.id)

    def backend(self, backend_id: int) -> tuple[BoundVip, BoundBackend]:
        """Return the backend with this id, and its VIP."""
        key, address = self._places[backend_id]
        vip = self._snapshot.vips[key]
        return vip, vip.backends[address]

    def vips_of(self, address: IPAddress) -> set[int]:
        """Return the ids of the VIPs that have this backend."""
        return {self._snapshot.vips[self._places[number][0]].id for number in self.backends_at(address)}

    def backends_at(self, address: IPAddress) -> set[int]:
        """Return the ids of the backends with this address, one for each VIP that has it."""
        return set(self._by_address.get(address, ()))


class _Touched:
    """The backends of a VIP that a change has taken away and given to it; one that it changed is both."""

    def __init__(self, key: VipKey, before: BoundVip | None, after: BoundVip | None) -> None:
        self.key = key
        held = {} if before is None else before.backends
        wanted = {} if after is None else after.backends
        backends = differing(held, wanted)
        self.gone = [held[address] for address in (*backends.gone, *backends.changed)]
        self.present = [wanted[address] for address in backends.present]


def touched_vips(before: Snapshot, after: Snapshot) -> frozenset[int]:
    """Return the ids of the VIPs that a change is about: those that are not the same afterwards, or not there."""
    vips = differing(before.vips, after.vips)
    old = [before.vips[key].id for key in (*vips.gone, *vips.changed)]
    return frozenset([*old, *(after.vips[key].id for key in vips.present)])
