# SPDX-License-Identifier: Apache-2.0
"""The table in which packets look for NAT backends first, beside the map `nat_backends`, which has all of them.

A packet may look at any moment: what is there stays where it is, and each change is one store of 64 bits, ordered such
that a packet between two of them finds every backend in its group or is told that the map has it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import layout
from .maps import BpfMap

__all__ = ["NatIndex", "arranged", "empty_nat_index", "group_and_tag"]

LOW64 = 2**64 - 1


def empty_nat_index(made: BpfMap) -> None:
    """Make a new index say that all is in the map, until it is filled."""
    _mapped(made, writable=True)[:, -1] = layout.NAT_ELSEWHERE


def group_and_tag(key: bytes, groups: int) -> tuple[int, int]:
    """Return in which of so many groups a key of `nat_backends` is looked for, and by which tag: nat_find.h."""
    transport = int.from_bytes(key[16:19], "little")
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")
    if key[19] == 4:
        hashed = (first | transport << 32) * layout.NAT_SEED
    else:
        hashed = first * layout.NAT_SEED + (second ^ transport) * layout.NAT_SEED6
    hashed &= LOW64
    hashed = (hashed ^ hashed >> 32) * layout.NAT_SEED & LOW64
    return hashed * groups >> 64, transport | (hashed << layout.NAT_HASH_SHIFT & layout.NAT_HASH_BITS)


def arranged(places: Sequence[int], wanted: Collection[int]) -> list[int]:
    """Return a group's places with these entries: in order, its stores lose none of those that are in both.

    Entries of the same tag would be taken for each other: none of them has a place.
    """
    tags = Counter(entry >> layout.NAT_TAG_SHIFT for entry in wanted)
    by_tag = {tag: entry for entry in wanted if tags[tag := entry >> layout.NAT_TAG_SHIFT] == 1}
    kept = [by_tag.pop(place >> layout.NAT_TAG_SHIFT, 0) for place in places]
    left, room = list(by_tag.values()), kept.count(0)
    lacks = len(by_tag) > room or len(by_tag) + len(kept) - room < len(wanted)
    if lacks:
        kept[-1] = layout.NAT_ELSEWHERE
    return [place or (left.pop() if left else 0) for place in kept]


class NatIndex:
    """Reads and writes it; `current` returns its map, None where there is none."""

    def __init__(self, current: Callable[[], BpfMap | None]) -> None:
        self._current = current
        self._map: BpfMap | None = None
        self._groups: NDArray[np.uint64] = np.zeros((0, layout.NAT_WAYS), np.uint64)
        self._held = self._groups
        self._entries: defaultdict[int, dict[bytes, int]] = defaultdict(dict)

    def fill(self, owners: Mapping[bytes, int]) -> None:
        """Make it have these keys, each with its backend's id, and no others."""
        self._map, self._entries = self._current(), defaultdict(dict)
        if self._map is None:
            return
        self._groups = _mapped(self._map, writable=True)
        self._held = self._groups.copy()
        for key, number in owners.items():
            self._note(key, number)
        idle = np.setdiff1d(np.flatnonzero(self._held.any(axis=1)), list(self._entries))
        self._held[idle] = self._groups[idle] = 0
        for group in self._entries:
            self._arrange(group)

    def put(self, keys: Collection[bytes], backend_id: int) -> None:
        """Let these keys, which the map has already, be this backend's."""
        self._change(keys, lambda key: self._note(key, backend_id))

    def drop(self, keys: Collection[bytes]) -> None:
        """Forget these keys, which the map still has."""
        self._change(keys, self._forget)

    def restore(self) -> bool:
        """Put right what another process has changed; return whether there was anything."""
        if self._map is None or np.array_equal(self._groups, self._held):
            return False
        self._groups[:] = self._held
        return True

    def _change(self, keys: Collection[bytes], one: Callable[[bytes], int]) -> None:
        if self._current() is not self._map:  # it was made anew, and says that all is in the map
            held = [pair for entries in self._entries.values() for pair in entries.items()]
            self.fill({key: entry & layout.NAT_ID_BITS for key, entry in held})
        if self._map is not None:
            for group in {one(key) for key in keys}:
                self._arrange(group)

    def _note(self, key: bytes, backend_id: int) -> int:
        group, tag = group_and_tag(key, len(self._groups))
        self._entries[group][key] = tag << layout.NAT_TAG_SHIFT | backend_id
        return group

    def _forget(self, key: bytes) -> int:
        group, _ = group_and_tag(key, len(self._groups))
        self._entries[group].pop(key, None)
        return group

    def _arrange(self, group: int) -> None:
        entries = self._entries[group]
        for place, entry in enumerate(arranged(self._held[group].tolist(), entries.values())):
            if self._held[group, place] != entry:
                self._held[group, place] = self._groups[group, place] = entry
        if not entries:
            del self._entries[group]


def _mapped(found: BpfMap, *, writable: bool = False) -> NDArray[np.uint64]:
    """Return the groups as they lie in the kernel, one a row."""
    count = found.info.max_entries * layout.NAT_WAYS
    return np.frombuffer(found.mapped(writable=writable), np.uint64, count).reshape(-1, layout.NAT_WAYS)
