# SPDX-License-Identifier: Apache-2.0
"""Reads what the maps pinned in a folder hold, of whatever layout they are, and changes nothing.

`xdplb up` looks at them with this before it takes them over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList

from . import access_index, backend_codec, layout, vip_codec, vip_index, vip_prefixes
from .inner_maps import read_element, read_trie
from .links import pinned_links
from .map_layout import convert
from .maps import BpfMap
from .mark_map import MarkMap
from .pins import META, NEXT, Meta
from .plane import BackendEntry, Capacity, Mark, Slots, VipEntry
from .platform_errors import kernel_errors
from .versions import check_readable

__all__ = ["PinnedReader", "maps_in_use"]

_ACCESS = {4: ("access4", layout.ACCESS4), 6: ("access6", layout.ACCESS6)}


@kernel_errors("read the maps")
def maps_in_use(folder: Path) -> PinnedReader | None:
    """Return a reader of the maps in a pin dir, None where there are none, or where none would be taken over.

    ConflictError if they are of a layout that this xdplb cannot read.
    """
    if not (folder / META).exists() or not pinned_links(folder):
        return None
    return PinnedReader(folder)


class PinnedReader:
    """A Reading of the maps pinned in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = _places(folder)
        meta = Meta.open(self._places[0])
        self._capacity, self._layouts = meta.capacity, meta.layouts
        check_readable(self._layouts)

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        return self._capacity

    @kernel_errors("read the maps")
    def read_mark(self) -> Mark | None:
        """Return which state the maps belong to."""
        try:
            return MarkMap.open(self._folder).read()
        except FileNotFoundError:
            return None

    @kernel_errors("read the VIPs")
    def read_vips(self) -> Mapping[int, VipEntry]:
        """Return the VIPs the packets see, by id."""
        found: dict[int, VipEntry] = {}
        for name, family in vip_index.INDEXES.items():
            if (index := self._element(name, 0)) is not None:
                groups = len(index["entries"][0]) // layout.VIP_GROUP_SIZE
                found |= family.parse(convert(index, family.index(groups)))
        for name in vip_prefixes.TRIES:
            if (trie := self._open(name)) is not None:
                before = self._layouts[name].value
                found |= vip_prefixes.parse(
                    (key, convert(np.frombuffer(value, before), layout.VIP_RULES_VALUE).tobytes())
                    for key, value in read_trie(trie)
                )
        guards = self._array("vip_guards", layout.VIP_GUARD)
        return {
            number: replace(vip, limits=vip_codec.limits_of(guards[number]), rejects=bool(guards[number]["rejects"]))
            for number, vip in found.items()
        }

    @kernel_errors("read a VIP's table")
    def read_table(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        table = self._element("vip_tables", vip_id)
        return None if table is None else table["slots"][0, : layout.TABLE_SIZE].copy()

    @kernel_errors("read the backends")
    def read_backends(self) -> Mapping[int, BackendEntry]:
        """Return the backends in the maps, by id; those never written are left out."""
        values, loads = self._array("backends", layout.BACKEND), self._array("backend_loads", layout.BACKEND_LOAD)
        doubts = self._array("backend_doubts", layout.BACKEND_DOUBT)
        servers, nat = self._keys("quic_servers", layout.QUIC_KEY), self._keys("nat_backends", layout.NAT_KEY)
        direct = self._keys("nat_direct", layout.NAT_DIRECT_KEY)
        return backend_codec.decode_all(values, loads, doubts, servers, nat, direct=direct)

    @kernel_errors("read the access lists")
    def read_access(self) -> Mapping[int, AccessList]:
        """Return the access lists of the VIPs that have one, by VIP id."""
        vips = [vip for vip in self.read_vips().values() if vip.has_access_list]
        numbers = self._array("vip_guards", layout.VIP_GUARD)["access_list"] if vips else np.empty(0, np.uint32)
        lists: dict[int, AccessList] = {}
        for version, (name, dtype) in _ACCESS.items():
            ids = {vip.id: int(numbers[vip.id]) for vip in vips if vip.key.address.version == version}
            if ids and (index := self._element(name, 0)) is not None:
                found = access_index.lists_in(convert(index, dtype), version, set(ids.values()))
                lists |= {vip_id: found[number] for vip_id, number in ids.items()}
        return lists

    def _keys(self, name: str, dtype: np.dtype[Any]) -> dict[int, list[bytes]]:
        """Return the keys in a map of what belongs to backends, as `dtype` has them, by backend."""
        owned = self._open(name)
        found: dict[int, list[bytes]] = {}
        if owned is None:
            return found
        keys, values = owned.read_all()
        converted = convert(np.ascontiguousarray(keys).reshape(-1).view(self._layouts[name].key), dtype)
        for number, key in zip(values.view(np.uint32).reshape(-1).tolist(), converted, strict=True):
            found.setdefault(number, []).append(key.tobytes())
        return found

    def _array(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return all values of an array, by key, with the fields of `dtype`; all zero where there is no such map."""
        found = self._open(name)
        if found is None:
            return np.zeros(max(self._capacity.vips, self._capacity.backends + 1), dtype)
        values = np.ascontiguousarray(found.read_all()[1]).reshape(-1).view(self._layouts[name].value)
        return convert(values, dtype)

    def _element(self, name: str, key: int) -> NDArray[Any] | None:
        """Return the one value of an inner array, shape (1,), in the layout that it has."""
        outer = self._open(name)
        raw = None if outer is None else read_element(outer, key)
        return None if raw is None else np.frombuffer(raw, self._layouts[name].value)

    def _open(self, name: str) -> BpfMap | None:
        for place in self._places:
            if name in self._layouts and (place / name).exists():
                return BpfMap.open(place / name)
        return None


def _places(folder: Path) -> tuple[Path, ...]:
    """Return where to look for a map: first in `next`, if what is there has taken the place of the rest already."""
    staging = folder / NEXT
    if (staging / META).exists() and Meta.open(staging).state == layout.META_CARRIED:
        return staging, folder
    return (folder,)
