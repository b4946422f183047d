# SPDX-License-Identifier: Apache-2.0
"""Who owns each slot, in the form in which thousands of VIPs share it.

A VIP's owners are a *pattern*, for each slot the place of its owner, and the ids at these places. VIPs with the same
backends and weights have the same pattern with other ids, and it is kept once: in 64 KiB, or 128 for over 255 owners.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from .compiled import LOOPS, address

__all__ = ["NOBODY", "Owners", "Ownership", "Pattern"]

Owners = NDArray[np.uint16]
"""For each slot the id of its owner."""

NOBODY = 0
"""As an owner: no backend."""

_IDS = 1 << 16


class Pattern:
    """For each slot the place of its owner, counted from 1; 0 is nobody's. It is never changed."""

    def __init__(self, places: NDArray[np.unsignedinteger], count: int) -> None:
        """Make one with `count` places beside nobody's."""
        self.places = _narrow(places, count)
        self.places.flags.writeable = False
        self.owned: tuple[int, ...] = tuple(np.bincount(places, minlength=count + 1).tolist())
        """How many slots each place owns, nobody's first."""

    @cached_property
    def taken(self) -> NDArray[np.intp]:
        """The numbers of the slots that have an owner."""
        return np.flatnonzero(self.places)

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """The number of the first slot of each place, 0 for one without slots."""
        first = np.zeros(len(self.owned), np.intp)
        taken, numbers = np.unique(self.places, return_index=True)
        first[taken] = numbers
        return first

    def owners(self, ids: Owners) -> Owners:
        """Return the owner of each slot, `ids` being those at the places, nobody's first."""
        if LOOPS is None:
            found: Owners = ids[self.places]
            return found
        owners = np.empty(len(self.places), np.uint16)
        loop = LOOPS.xdplb_owners8 if self.places.itemsize == 1 else LOOPS.xdplb_owners16
        loop(address(self.places), address(ids), len(owners), address(owners))
        return owners


@dataclass(frozen=True, eq=False)
class Ownership:
    """The owner of each slot: a pattern, and the ids at its places, NOBODY first."""

    pattern: Pattern
    ids: Owners

    @classmethod
    def of(cls, owners: Owners, likely: Pattern | None = None) -> Ownership:
        """Return the ownership with these owners. Those that differ by their ids alone share one pattern.

        If that is the `likely` one, it is found in a fifth of the time.
        """
        if likely is not None:
            ids = owners[likely.first]
            ids[0] = NOBODY
            if len(set(ids.tolist())) == len(ids) and np.array_equal(likely.owners(ids), owners):
                return cls(likely, ids)
        places, ids = _places_of(np.ascontiguousarray(owners, np.uint16))
        return cls(_shared(places, len(ids) - 1), ids)

    @classmethod
    def over(cls, ids: Owners, owners: Owners) -> Ownership:
        """Return the ownership with these owners at the places that `ids` says, NOBODY first; `of` if one has none."""
        place_of = np.zeros(_IDS, np.uint16)
        place_of[ids] = np.arange(len(ids), dtype=np.uint16)
        places = place_of[owners]
        if not np.array_equal(ids[places], owners):
            return cls.of(owners)
        return cls(_shared(places, len(ids) - 1), ids)

    @property
    def owners(self) -> Owners:
        """The owner of each slot."""
        return self.pattern.owners(self.ids)

    def of_slots(self, numbers: NDArray[np.integer]) -> Owners:
        """Return the owners of some slots, given by number."""
        owners: Owners = self.ids[self.pattern.places[numbers]]
        return owners

    @cached_property
    def owned(self) -> dict[int, int]:
        """How many slots each owner has, NOBODY left out."""
        found = zip(self.ids.tolist(), self.pattern.owned, strict=True)
        return {number: count for number, count in found if count and number != NOBODY}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ownership):
            return NotImplemented
        if self.pattern is other.pattern:
            differs = np.flatnonzero(self.ids != other.ids).tolist()
            return not any(self.pattern.owned[place] for place in differs)  # one that owns nothing may have any id
        return self.owned == other.owned and np.array_equal(self.owners, other.owners)

    __hash__ = None  # type: ignore[assignment]


_PATTERNS: WeakValueDictionary[tuple[bytes, int], Pattern] = WeakValueDictionary()
"""By their digest and the number of places, while a table has them."""


def _shared(places: NDArray[np.uint16], count: int) -> Pattern:
    """Return the pattern with these places, the one that others have already if there is one."""
    key = blake2b(_narrow(places, count).data, digest_size=16).digest(), count
    pattern = _PATTERNS.get(key)
    return pattern if pattern is not None else _PATTERNS.setdefault(key, Pattern(places, count))


def _narrow(places: NDArray[np.unsignedinteger], count: int) -> NDArray[np.unsignedinteger]:
    """Return a copy in which each of `count` places takes no more bytes than it must."""
    return places.astype(np.uint8 if count <= np.iinfo(np.uint8).max else np.uint16)


def _places_of(owners: Owners) -> tuple[NDArray[np.uint16], Owners]:
    """Return the place of each slot's owner, and the ids at the places in the order in which they first own a slot."""
    if LOOPS is None:
        return _places_in_python(owners)
    places, ids = np.empty(len(owners), np.uint16), np.zeros(min(len(owners) + 1, _IDS), np.uint16)
    seen = np.zeros(_IDS, np.uint16)
    count = LOOPS.xdplb_places(address(owners), len(owners), address(seen), address(places), address(ids[1:]))
    return places, ids[: count + 1].copy()


def _places_in_python(owners: Owners) -> tuple[NDArray[np.uint16], Owners]:
    found, first, indexes = np.unique(owners, return_index=True, return_inverse=True)
    order = np.argsort(np.where(found == NOBODY, -1, first))
    has_nobody = len(found) > 0 and found[0] == NOBODY
    places = np.empty(len(found), np.uint16)
    places[order] = np.arange(len(found)) + (0 if has_nobody else 1)
    ids = found[order]
    return places[indexes.reshape(-1)], ids if has_nobody else np.concatenate([[np.uint16(NOBODY)], ids])
