"""Which VIPs must be planned again: a health flip among thousands of backends concerns one VIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress

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
        """Add what a change touched. A change to VIPs themselves, not only to their backends, concerns everything."""
        if before.vips.keys() != after.vips.keys():
            self.everything = True
            return
        for key, vip in after.vips.items():
            old = before.vips[key]
            if old is not vip:
                self.vips.add(vip.id)
                self.everything |= (old.id, old.vip) != (vip.id, vip.vip) or old.access is not vip.access


class Index:
    """Looks up a snapshot's backends by id and by address."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.backends: Mapping[int, tuple[BoundVip, BoundBackend]] = {
            backend.id: (vip, backend) for vip, backend in snapshot.backends()
        }

    def vips_of(self, address: IPAddress) -> set[int]:
        """Return the ids of the VIPs that have this backend."""
        return {vip.id for vip, _ in self._by_address.get(address, ())}

    def backends_at(self, address: IPAddress) -> set[int]:
        """Return the ids of the backends with this address, one for each VIP that has it."""
        return {backend.id for _, backend in self._by_address.get(address, ())}

    @cached_property
    def _by_address(self) -> Mapping[IPAddress, list[tuple[BoundVip, BoundBackend]]]:
        found: dict[IPAddress, list[tuple[BoundVip, BoundBackend]]] = {}
        for vip, backend in self.backends.values():
            found.setdefault(backend.backend.address, []).append((vip, backend))
        return found


def touched_vips(before: Snapshot, after: Snapshot) -> frozenset[int]:
    """Return the ids of the VIPs that a change is about: those that are not the same afterwards, or not there."""
    changed = {vip.id for key, vip in after.vips.items() if before.vips.get(key) is not vip}
    return frozenset(changed | {vip.id for key, vip in before.vips.items() if key not in after.vips})
