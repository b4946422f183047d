# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the VIPs in the kernel: indexes, tries, and guards (rate limits, number of the access list)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList

from . import access_index, layout, vip_codec, vip_prefixes
from .capacity import check_access_lists
from .map_specs import map_specs
from .maps import BpfMap
from .mirror import Mirror
from .pinned_maps import Maps
from .plane import VipEntry
from .swapped import Swapped
from .vip_parts import FAMILIES, Part, VipParts, groups_of

__all__ = ["VipMaps", "assign_lists"]

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
        self._seeds: dict[Part, list[int]] = {}
        self._parts: VipParts | None = None  # None until they are read, and after an error
        self._vips: Mapping[int, VipEntry] = {}
        self._lists = {
            vip.id: int(self._guards.held["access_list"][vip.id]) for vip in self.held.values() if vip.has_access_list
        }

    @property
    def held(self) -> Mapping[int, VipEntry]:
        """The VIPs the packets see, by id, in no order. In any thread: it is replaced as a whole."""
        if self._parts is None:
            self._known()
        return self._vips

    def read(self) -> dict[int, VipEntry]:
        """Return the VIPs the packets see, by id, in order."""
        return dict(sorted(self.held.items()))

    def write(self, vips: Sequence[VipEntry], instead_of: Collection[int]) -> None:
        """Put these VIPs in place of those with the ids `instead_of`.

        All that is different of a part is swapped at once, after the guards, which the new VIPs may need.
        """
        parts = self._known()
        try:
            ready = [
                (part, parts.build(self._maps.capacity, part, self._seeds.get(part)))
                for part in sorted(parts.replace(vips, instead_of))
            ]
            self._write_guards(vips)
            for part, built in ready:
                self._swap(part, built)
                if not isinstance(built, dict):
                    self._seeds[part] = FAMILIES[part[0]].seeds_of(built)
        except BaseException:
            self._parts = None
            raise
        self._vips = dict(parts.vips)

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
        ids = list(numbers)
        guards = self._guards.held[ids]
        guards["access_list"] = list(numbers.values())
        self._guards.write_changes(np.array(ids, np.uint32), guards)
        self._lists = numbers

    def verify(self) -> Iterator[tuple[str, bool]]:
        """Compare some at each step; say of which map it is, and whether it had to be written again."""
        for part, name in _NAMES.items():
            yield from ((name, changed) for changed in self._verify(part, name))
        yield from (("vip_guards", changed) for changed in self._guards.verify())
        for outer, name, build in self._access_maps():
            changed = not self._swapped.is_element_as_written(outer, name)
            if changed:
                self._swapped.swap_element(outer, name, build(self._access))
            yield name, changed

    def _verify(self, part: Part, name: str) -> Iterator[bool]:
        outer, exact = self._outer(part), part[1]
        if outer is None:
            return
        if exact:
            looks = iter([not self._swapped.is_element_as_written(outer, name)])
        else:
            looks = self._swapped.look_at_trie(outer, name)
        for changed in looks:
            if changed and self._parts is not None:
                self._swap(part, self._parts.build(self._maps.capacity, part, self._seeds.get(part)))
            yield changed

    def _access_maps(self) -> list[tuple[BpfMap, str, Callable[[Mapping[int, AccessList]], NDArray[np.void]]]]:
        found = (
            (self._maps.access4, "access4", access_index.build4),
            (self._maps.access6, "access6", access_index.build6),
        )
        return [(outer, name, build) for outer, name, build in found if outer is not None]

    def _known(self) -> VipParts:
        if self._parts is None:
            self._parts = VipParts([vip for part in _NAMES for vip in self._read(part)])
            self._vips = dict(self._parts.vips)
        return self._parts

    def _read(self, part: Part) -> list[VipEntry]:
        outer, name = self._outer(part), _NAMES[part]
        version, exact = part
        if outer is None:
            return []
        if exact:
            family = FAMILIES[version]
            data = self._swapped.read_element(outer, name)
            index = np.frombuffer(data, family.index(groups_of(self._maps.capacity, version)))
            found = family.parse(index)
            if data:
                self._seeds[part] = family.seeds_of(index)
        else:
            found = vip_prefixes.parse(self._swapped.read_trie(outer, name))
        guards = self._guards.held
        return [
            replace(
                vip,
                limits=vip_codec.limits_of(guards[number]),
                shares_all=bool(guards[number]["shares_all"]),
                rejects=bool(guards[number]["rejects"]),
            )
            for number, vip in found.items()
        ]

    def _swap(self, part: Part, built: NDArray[np.void] | vip_prefixes.Rules) -> None:
        outer = self._outer(part)
        if outer is None:
            raise ValueError("there is no map for VIPs of this kind: require its feature first")
        name = _NAMES[part]
        if isinstance(built, dict):
            spec = next(spec.inner for spec in map_specs(self._maps.capacity) if spec.name == name and spec.inner)
            self._swapped.swap_trie(outer, name, spec, built, wait=False)
        else:
            self._swapped.swap_element(outer, name, built, wait=False)

    def _outer(self, part: Part) -> BpfMap | None:
        maps = self._maps
        if part[0] == 4:
            return maps.vip_index if part[1] else maps.vip_prefixes
        return maps.vip_index6 if part[1] else maps.vip_prefixes6

    def _write_guards(self, vips: Sequence[VipEntry]) -> None:
        ids = [vip.id for vip in vips]
        guards = self._guards.held[ids]
        for number, vip in enumerate(vips):
            vip_codec.write_limits(guards[number : number + 1], vip.limits)
            guards[number]["shares_all"], guards[number]["rejects"] = vip.shares_all, vip.rejects
        self._guards.write_changes(np.array(ids, np.uint32), guards)


def assign_lists(held: Mapping[int, int], wanted: Mapping[int, AccessList]) -> dict[int, int]:
    """Return the number of each VIP's list: what it `held`, else one that nobody held, else one that is free now."""
    numbers = {vip_id: held[vip_id] for vip_id in wanted if vip_id in held}
    check_access_lists(len(wanted))
    fresh = sorted(set(range(layout.ACCESS_LISTS)) - set(held.values()))
    freed = sorted(set(held.values()) - set(numbers.values()))
    free = iter([*fresh, *freed])
    return numbers | {vip_id: next(free) for vip_id in wanted if vip_id not in held}
