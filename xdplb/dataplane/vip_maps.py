"""Reads and writes the VIPs in the kernel: indexes, tries, and guards (rate limits, number of the access list)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList

from . import access_index, layout, vip_codec, vip_prefixes
from .capacity import check_access_lists
from .inner_maps import read_element, read_trie, swap_element, swap_trie
from .map_specs import map_specs
from .maps import BpfMap
from .pinned_maps import Maps
from .plane import VipEntry
from .vip_parts import FAMILIES, Part, VipParts, groups_of

__all__ = ["VipMaps", "assign_lists"]


class VipMaps:
    """Reads and writes the VIPs. It remembers what it wrote, and swaps only what is different."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._guards = maps.vip_guards.read_all()[1].view(layout.VIP_GUARD).reshape(-1).copy()
        self._seeds: dict[Part, list[int]] = {}
        self._parts: VipParts | None = None  # None until they are read, and after an error
        self._vips: Mapping[int, VipEntry] = {}
        self._lists = {
            vip.id: int(self._guards["access_list"][vip.id]) for vip in self.held.values() if vip.has_access_list
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
            self._write_limits(vips)
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
        built = [
            (outer, name, build(numbered))
            for outer, name, build in (
                (self._maps.access4, "access4", access_index.build4),
                (self._maps.access6, "access6", access_index.build6),
            )
            if outer is not None
        ]
        for outer, name, index in built:
            swap_element(outer, 0, name, index)
        ids = list(numbers)
        guards = self._guards[ids]
        guards["access_list"] = list(numbers.values())
        self._write_guards(ids, guards)
        self._lists = numbers

    def _known(self) -> VipParts:
        if self._parts is None:
            parts = [(version, exact) for version in FAMILIES for exact in (True, False)]
            self._parts = VipParts([vip for part in parts for vip in self._read(part)])
            self._vips = dict(self._parts.vips)
        return self._parts

    def _read(self, part: Part) -> list[VipEntry]:
        outer = self._outer(part)
        version, exact = part
        if outer is None:
            return []
        if exact:
            family = FAMILIES[version]
            data = read_element(outer, 0)
            index = np.frombuffer(data or b"", family.index(groups_of(self._maps.capacity, version)))
            found = family.parse(index)
            if data:
                self._seeds[part] = family.seeds_of(index)
        else:
            found = vip_prefixes.parse(read_trie(outer))
        return [replace(vip, limits=vip_codec.limits_of(self._guards[number])) for number, vip in found.items()]

    def _swap(self, part: Part, built: NDArray[np.void] | vip_prefixes.Rules) -> None:
        outer = self._outer(part)
        if outer is None:
            raise ValueError("there is no map for VIPs of this kind: require its feature first")
        if isinstance(built, dict):
            name = "vip_prefixes6" if part[0] == 6 else "vip_prefixes"
            spec = next(spec.inner for spec in map_specs(self._maps.capacity) if spec.name == name and spec.inner)
            swap_trie(outer, spec, built)
        else:
            swap_element(outer, 0, "vip_index", built)

    def _outer(self, part: Part) -> BpfMap | None:
        maps = self._maps
        if part[0] == 4:
            return maps.vip_index if part[1] else maps.vip_prefixes
        return maps.vip_index6 if part[1] else maps.vip_prefixes6

    def _write_limits(self, vips: Sequence[VipEntry]) -> None:
        ids = [vip.id for vip in vips]
        guards = self._guards[ids]
        for number, vip in enumerate(vips):
            vip_codec.write_limits(guards[number : number + 1], vip.limits)
        self._write_guards(ids, guards)

    def _write_guards(self, ids: Sequence[int], guards: NDArray[np.void]) -> None:
        """Write these guards where they differ from those there are."""
        if not ids:
            return
        numbers = np.array(ids, np.uint32)
        changed = (_rows(guards) != _rows(self._guards[numbers])).any(axis=1)
        self._maps.vip_guards.update_batch(numbers[changed], guards[changed])
        self._guards[numbers] = guards


def _rows(guards: NDArray[np.void]) -> NDArray[np.uint8]:
    return guards.view(np.uint8).reshape(len(guards), -1)


def assign_lists(held: Mapping[int, int], wanted: Mapping[int, AccessList]) -> dict[int, int]:
    """Return the number of each VIP's list: what it `held`, else one that nobody held, else one that is free now."""
    numbers = {vip_id: held[vip_id] for vip_id in wanted if vip_id in held}
    check_access_lists(len(wanted))
    fresh = sorted(set(range(layout.ACCESS_LISTS)) - set(held.values()))
    freed = sorted(set(held.values()) - set(numbers.values()))
    free = iter([*fresh, *freed])
    return numbers | {vip_id: next(free) for vip_id in wanted if vip_id not in held}
