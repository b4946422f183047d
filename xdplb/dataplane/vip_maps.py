"""Reads and writes the VIPs in the kernel: indexes, tries, and guards (rate limits, number of the access list)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.key import Protocol, VipKey

from . import access_index, layout, vip_codec, vip_index, vip_prefixes
from .capacity import check_access_lists
from .map_specs import map_specs
from .maps import BpfMap
from .mirror import Mirror
from .pinned_maps import Maps
from .plane import Capacity, VipEntry
from .source import vip_groups, vip_groups6
from .swapped import Swapped

__all__ = ["VipMaps", "assign_lists", "build_part", "parted"]

FAMILIES = {4: vip_index.IPV4, 6: vip_index.IPV6}

Vips = dict[int, VipEntry]
Part = tuple[int, bool]
"""Which of the four a VIP lies in: its address's version, and whether in the index (else in the trie)."""

_NAMES: dict[Part, str] = {
    (4, True): "vip_index",
    (4, False): "vip_prefixes",
    (6, True): "vip_index6",
    (6, False): "vip_prefixes6",
}


class VipMaps:
    """Reads and writes the VIPs. It remembers what it wrote, and swaps only what is different."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._guards = Mirror(maps.vip_guards, layout.VIP_GUARD)
        self._swapped = Swapped()
        self._access: Mapping[int, AccessList] = {}
        """The access lists by their numbers."""
        self._held = {part: self._read(part) for part in parted([])}
        self._lists = {
            vip.id: int(self._guards.held["access_list"][vip.id]) for vip in self.read().values() if vip.has_access_list
        }

    def read(self) -> Vips:
        """Return the VIPs the packets see, by id, in order."""
        every = {vip.id: vip for part in self._held.values() for vip in part.values()}
        return dict(sorted(every.items()))

    def write(self, vips: Sequence[VipEntry]) -> None:
        """Swap what is different, after the guards, which the new VIPs may need at once."""
        writes = [(part, found) for part, found in parted(vips).items() if found != self._held[part]]
        ready = [(part, found, build_part(self._maps.capacity, part, found)) for part, found in writes]
        self._write_limits(vips)
        for part, found, built in ready:
            self._swap(part, built)
            self._held[part] = found

    def write_access(self, lists: Mapping[int, AccessList]) -> None:
        """Swap the access lists; then say in the guards which number each VIP's list has.

        A VIP keeps its number, and a number that was in use goes to another VIP only when there is no other, so that
        no packet is checked against a list that is not its VIP's.
        """
        numbers = assign_lists(self._lists, lists)
        numbered = {numbers[vip_id]: found for vip_id, found in lists.items()}
        built = [(outer, name, build(numbered)) for outer, name, build in self._access_maps()]
        for outer, name, index in built:
            self._swapped.swap_element(outer, name, index)
        self._access = numbered
        guards = self._guards.held.copy()
        guards["access_list"][list(numbers)] = list(numbers.values())
        self._write_guards(guards)
        self._lists = numbers

    def verify(self) -> Iterator[tuple[str, bool]]:
        """Compare some at each step; say of which map it is, and whether it had to be written again."""
        for part in self._held:
            yield from ((_NAMES[part], changed) for changed in self._verify(part))
        yield from (("vip_guards", changed) for changed in self._guards.verify())
        for outer, name, build in self._access_maps():
            changed = not self._swapped.is_element_as_written(outer, name)
            if changed:
                self._swapped.swap_element(outer, name, build(self._access))
            yield name, changed

    def _verify(self, part: Part) -> Iterator[bool]:
        outer, exact = self._outer(part), part[1]
        if outer is None:
            return
        if exact:
            looks = iter([not self._swapped.is_element_as_written(outer, _NAMES[part])])
        else:
            looks = self._swapped.look_at_trie(outer, _NAMES[part])
        for changed in looks:
            if changed:
                self._swap(part, build_part(self._maps.capacity, part, self._held[part]))
            yield changed

    def _access_maps(self) -> list[tuple[BpfMap, str, Callable[[Mapping[int, AccessList]], NDArray[np.void]]]]:
        found = (
            (self._maps.access4, "access4", access_index.build4),
            (self._maps.access6, "access6", access_index.build6),
        )
        return [(outer, name, build) for outer, name, build in found if outer is not None]

    def _read(self, part: Part) -> Vips:
        outer, name = self._outer(part), _NAMES[part]
        version, exact = part
        if outer is None:
            found: Vips = {}
        elif exact:
            family = FAMILIES[version]
            groups = _groups(self._maps.capacity, version)
            found = family.parse(np.frombuffer(self._swapped.read_element(outer, name), family.index(groups)))
        else:
            found = vip_prefixes.parse(self._swapped.read_trie(outer, name))
        guards = self._guards.held
        return {number: replace(vip, limits=vip_codec.limits_of(guards[number])) for number, vip in found.items()}

    def _swap(self, part: Part, built: NDArray[np.void] | vip_prefixes.Rules) -> None:
        outer = self._outer(part)
        if outer is None:
            raise ValueError("there is no map for VIPs of this kind: require its feature first")
        name = _NAMES[part]
        if isinstance(built, dict):
            spec = next(spec.inner for spec in map_specs(self._maps.capacity) if spec.name == name and spec.inner)
            self._swapped.swap_trie(outer, name, spec, built)
        else:
            self._swapped.swap_element(outer, name, built)

    def _outer(self, part: Part) -> BpfMap | None:
        maps = self._maps
        if part[0] == 4:
            return maps.vip_index if part[1] else maps.vip_prefixes
        return maps.vip_index6 if part[1] else maps.vip_prefixes6

    def _write_limits(self, vips: Sequence[VipEntry]) -> None:
        guards = self._guards.held.copy()
        for vip in vips:
            vip_codec.write_limits(guards[vip.id : vip.id + 1], vip.limits)
        self._write_guards(guards)

    def _write_guards(self, guards: NDArray[np.void]) -> None:
        changed = np.flatnonzero((_rows(guards) != _rows(self._guards.held)).any(axis=1))
        self._guards.write(changed.astype(np.uint32), guards[changed])


def _is_hidden(key: VipKey, keys: AbstractSet[VipKey]) -> bool:
    """Whether two VIPs of one protocol stand before this one of both: it has no entry in the index to be read from."""
    return key.protocol is Protocol.BOTH and all(
        replace(key, protocol=protocol) in keys for protocol in (Protocol.TCP, Protocol.UDP)
    )


def _rows(guards: NDArray[np.void]) -> NDArray[np.uint8]:
    return guards.view(np.uint8).reshape(len(guards), -1)


def parted(vips: Sequence[VipEntry]) -> dict[Part, Vips]:
    """Return the VIPs by where they lie."""
    parts: dict[Part, Vips] = {(version, exact): {} for version in (4, 6) for exact in (True, False)}
    keys = {vip.key for vip in vips}
    for vip in vips:
        parts[vip.key.address.version, vip.key.is_exact and not _is_hidden(vip.key, keys)][vip.id] = vip
    return parts


def build_part(capacity: Capacity, part: Part, vips: Vips) -> NDArray[np.void] | vip_prefixes.Rules:
    """Return the index or the rules that hold these VIPs; CapacityError if they do not fit."""
    version, exact = part
    found = list(vips.values())
    return FAMILIES[version].build(found, _groups(capacity, version)) if exact else vip_prefixes.build(found)


def _groups(capacity: Capacity, version: int) -> int:
    return vip_groups(capacity) if version == 4 else vip_groups6(capacity)


def assign_lists(held: Mapping[int, int], wanted: Mapping[int, AccessList]) -> dict[int, int]:
    """Return the number of each VIP's list: what it `held`, else one that nobody held, else one that is free now."""
    numbers = {vip_id: held[vip_id] for vip_id in wanted if vip_id in held}
    check_access_lists(len(wanted))
    fresh = sorted(set(range(layout.ACCESS_LISTS)) - set(held.values()))
    freed = sorted(set(held.values()) - set(numbers.values()))
    free = iter([*fresh, *freed])
    return numbers | {vip_id: next(free) for vip_id in wanted if vip_id not in held}
