# SPDX-License-Identifier: Apache-2.0
"""The ids that this host gives to VIPs and backends in its maps. They differ from host to host."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.control.state.differing import carried, missing
from xdplb.dataplane.capacity import MAX_BACKEND_ID, full, growth_hint
from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPAddress
from xdplb.model.errors import CapacityError
from xdplb.model.vip import VipKey

__all__ = ["BackendBinding", "Bindings", "VipBinding", "bind"]

_EPOCHS = 1 << 16


class BackendBinding(NamedTuple):
    """A backend's id, and its epoch: how many backends have had this id before it, modulo 2^16."""

    id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class VipBinding:
    """A VIP's id, and the bindings of its backends."""

    id: int
    backends: Mapping[IPAddress, BackendBinding] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bindings:
    """All ids in use; `epochs` has the last epoch of every backend id that was ever used."""

    vips: Mapping[VipKey, VipBinding] = field(default_factory=dict)
    epochs: Mapping[int, int] = field(default_factory=dict)
    _used: _Used | None = field(default=None, compare=False, repr=False)

    @property
    def used(self) -> _Used:
        """The ids in use, as bits. Made once, and after a change from those before it."""
        if self._used is None:
            backends = (binding.id for vip in self.vips.values() for binding in vip.backends.values())
            used = _Used(_bits(vip.id for vip in self.vips.values()), _bits(backends))
            object.__setattr__(self, "_used", used)
        assert self._used is not None
        return self._used


class _Used(NamedTuple):
    """The ids of VIPs and of backends, each a number with a bit for each id: it is copied in microseconds."""

    vips: int
    backends: int


def bind(
    desired: Desired, bindings: Bindings, capacity: Capacity, touched: Collection[VipKey] | None = None
) -> Bindings:
    """Return the bindings for a desired state: what has an id keeps it, what is new gets a free one.

    `touched` are the VIPs that may have got backends or lost some, or are new; None if it may be any. CapacityError if
    the maps have no room. Ids that the same change frees are used last, since packets under way may still refer to
    them.
    """
    asked = [
        _Asked(key, vip, bindings.vips.get(key))
        for key, vip in (desired.vips.items() if touched is None else ((key, desired.vips[key]) for key in touched))
    ]
    unbound = [each for each in asked if each.present is None or each.new or each.gone]
    gone = missing(bindings.vips, desired.vips)
    removed = [bindings.vips[key] for key in gone]
    if not unbound and not removed:
        return bindings
    used = bindings.used
    new_vips = [each.key for each in unbound if each.present is None]
    vip_ids, used_vips = _given("VIPs", used.vips, range(capacity.vips), [vip.id for vip in removed], len(new_vips))
    freed = [binding.id for vip in removed for binding in vip.backends.values()]
    freed += [each.present.backends[address].id for each in unbound if each.present for address in each.gone]
    new_backends = [(each.key, address) for each in unbound for address in each.new]
    room = range(1, min(capacity.backends, MAX_BACKEND_ID) + 1)
    ids, used_backends = _given("backends", used.backends, room, freed, len(new_backends))
    fresh = {
        place: BackendBinding(number, (bindings.epochs.get(number, -1) + 1) % _EPOCHS)
        for place, number in zip(new_backends, ids, strict=True)
    }
    numbers = dict(zip(new_vips, vip_ids, strict=True))
    vips = {each.key: each.bound(numbers, fresh) for each in unbound}
    return Bindings(
        carried(bindings.vips, gone, vips, desired.vips),
        {**bindings.epochs, **dict(fresh.values())} if fresh else bindings.epochs,
        _Used(used_vips, used_backends),
    )


class _Asked:
    """A VIP that may need ids: its backends that have none yet (`new`), and those with one that it no longer has."""

    def __init__(self, key: VipKey, vip: DesiredVip, present: VipBinding | None) -> None:
        self.key, self.vip, self.present = key, vip, present
        held: Mapping[IPAddress, BackendBinding] = {} if present is None else present.backends
        self.new, self.gone = missing(vip.backends, held), missing(held, vip.backends)

    def bound(
        self, vips: Mapping[VipKey, int], backends: Mapping[tuple[VipKey, IPAddress], BackendBinding]
    ) -> VipBinding:
        """Return its binding, with the new ids among these."""
        given = {address: backends[self.key, address] for address in self.new}
        if self.present is None:
            return VipBinding(vips[self.key], given)
        return VipBinding(self.present.id, carried(self.present.backends, self.gone, given, self.vip.backends))


def _given(what: str, used: int, room: range, freed: list[int], count: int) -> tuple[list[int], int]:
    """Return `count` ids, and all ids in use then: the lowest free ones first, then those that the same change frees.

    CapacityError if there are not so many.
    """
    in_use, after = used.bit_count(), used.bit_count() - len(freed) + count
    if count and after > len(room):
        if in_use == len(room):
            raise full(what, in_use, len(room))
        raise CapacityError(f"this needs {after} {what}, and there is room for {len(room)}", hint=growth_hint(what))
    ids = _lowest(~used & ((1 << room.stop) - (1 << room.start)), count) if count else []
    ids += sorted(freed)[: count - len(ids)]
    return ids, (used & ~_bits(freed)) | _bits(ids)


def _bits(ids: Iterable[int]) -> int:
    """Return the number with the bits of these ids."""
    numbers = list(ids)
    found = bytearray((max(numbers, default=0) >> 3) + 1)
    for number in numbers:
        found[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(found, "little")


def _lowest(free: int, count: int) -> list[int]:
    """Return the lowest ids whose bits are set, at most `count`."""
    data = np.frombuffer(free.to_bytes((free.bit_length() + 7) // 8, "little"), np.uint8)
    ids: list[int] = np.flatnonzero(np.unpackbits(data, bitorder="little"))[:count].tolist()
    return ids
