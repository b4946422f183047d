"""The ids that this host gives to VIPs and backends in its maps. They differ from host to host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from xdplb.control.state.desired import Desired, DesiredVip
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


def bind(desired: Desired, bindings: Bindings, capacity: Capacity) -> Bindings:
    """Return the bindings for a desired state: what has an id keeps it, what is new gets a free one.

    CapacityError if the maps have no room. Ids that the same change frees are used last, since packets under way may
    still refer to them.
    """
    if all(_is_bound(vip, bindings.vips.get(key)) for key, vip in desired.vips.items()) and (
        len(desired.vips) == len(bindings.vips)
    ):
        return bindings
    vip_ids = _vip_ids(desired, bindings, capacity)
    given = _backend_bindings(desired, bindings, capacity)
    vips: dict[VipKey, VipBinding] = {}
    for key, vip in desired.vips.items():
        present = bindings.vips.get(key)
        if present is not None and _is_bound(vip, present):
            vips[key] = present
            continue
        known = {} if present is None else present.backends
        backends = {address: known.get(address) or given[key, address] for address in vip.backends}
        vips[key] = VipBinding(vip_ids[key] if present is None else present.id, backends)
    return Bindings(vips, {**bindings.epochs, **dict(given.values())} if given else bindings.epochs)


def _is_bound(vip: DesiredVip, present: VipBinding | None) -> bool:
    """Return whether a VIP has an id, and exactly its backends have one too."""
    return present is not None and present.backends.keys() == vip.backends.keys()


def _vip_ids(desired: Desired, bindings: Bindings, capacity: Capacity) -> dict[VipKey, int]:
    """Return an id for each VIP without one: the lowest free ids, in the order of the VIPs."""
    new = [key for key in desired.vips if key not in bindings.vips]
    if not new:
        return {}
    if len(desired.vips) > capacity.vips:
        raise _no_room("VIPs", len(bindings.vips), len(desired.vips), capacity.vips)
    used = {binding.id for binding in bindings.vips.values()}
    freed = [binding.id for key, binding in bindings.vips.items() if key not in desired.vips]
    return dict(zip(new, _free(range(capacity.vips), used, freed, len(new)), strict=True))


def _backend_bindings(
    desired: Desired, bindings: Bindings, capacity: Capacity
) -> dict[tuple[VipKey, IPAddress], BackendBinding]:
    """Return a binding for each backend without one."""
    new: list[tuple[VipKey, IPAddress]] = []
    freed: list[int] = []
    for key, vip in desired.vips.items():
        present = bindings.vips.get(key)
        if _is_bound(vip, present):
            continue
        known = {} if present is None else present.backends
        new += [(key, address) for address in vip.backends if address not in known]
        freed += [binding.id for address, binding in known.items() if address not in vip.backends]
    for key, gone in bindings.vips.items():
        if key not in desired.vips:
            freed += [binding.id for binding in gone.backends.values()]
    if not new:
        return {}
    used = {binding.id for vip in bindings.vips.values() for binding in vip.backends.values()}
    most = min(capacity.backends, MAX_BACKEND_ID)
    if (wanted := len(used) - len(freed) + len(new)) > most:
        raise _no_room("backends", len(used), wanted, most)
    ids = _free(range(1, most + 1), used, freed, len(new))
    return {
        place: BackendBinding(number, (bindings.epochs.get(number, -1) + 1) % _EPOCHS)
        for place, number in zip(new, ids, strict=True)
    }


def _no_room(what: str, used: int, wanted: int, room: int) -> CapacityError:
    if used == room:
        return full(what, used, room)
    return CapacityError(f"this needs {wanted} {what}, and there is room for {room}", hint=growth_hint(what))


def _free(ids: range, used: Collection[int], freed: Collection[int], count: int) -> Iterator[int]:
    """Yield `count` ids: the lowest free ones, then those that the same change frees (`freed`)."""
    free = list(islice((candidate for candidate in ids if candidate not in used), count))
    yield from free
    yield from sorted(freed)[: count - len(free)]
