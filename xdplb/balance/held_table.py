# SPDX-License-Identifier: Apache-2.0
"""A VIP's table as it is kept in memory: a few kilobytes beside what it shares with the tables of like VIPs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from .hashing import TABLE_SIZE
from .pattern import Owners, Ownership, Pattern
from .slots import PINNED, STEADY, SlotCounts, Slots, move, pin_all, unpack

__all__ = ["NO_TABLE", "HeldTable"]

_CACHED_MOVES = 16  # of patterns of 64 KiB, and of up to 512 KiB with the numbers of the slots


class HeldTable:
    """The owner and the previous owner of each slot. It is never changed; `slots` are computed whenever they are asked.

    A previous owner is as in slots.py: an id, STEADY or PINNED.
    """

    def __init__(self, owners: Ownership | Callable[[], Ownership], previous: Ownership) -> None:
        """Make one; `owners` may be a pure function, which is called when somebody asks for them."""
        self._owners, self.previous = owners, previous

    @classmethod
    def of(cls, slots: Slots, likely: Ownership | None = None, like: HeldTable | None = None) -> HeldTable:
        """Return the table with these slots.

        That takes a third of the time if its owners are the `likely` ones, and it differs by ids alone from `like`.
        """
        owners, previous = unpack(slots)
        if likely is None or not np.array_equal(owners, likely.owners):
            likely = Ownership.of(owners)
        return cls(likely, Ownership.of(previous, None if like is None else like.previous.pattern))

    @classmethod
    def steady(cls, owners: Ownership | Callable[[], Ownership]) -> HeldTable:
        """Return the table of these owners in which all slots are steady."""
        return cls(owners, _ALL_STEADY)

    @cached_property
    def owners(self) -> Ownership:
        """Who owns each slot."""
        return self._owners() if callable(self._owners) else self._owners

    def move(self, owners: Ownership, *, gone: AbstractSet[int] = frozenset()) -> HeldTable:
        """Return the table with these owners, such that open connections keep their backends; `gone` as in `move`."""
        if owners == self.owners and gone.isdisjoint(self.previous.owned):
            return HeldTable(owners, self.previous)  # no slot moves, as after a restart
        if np.array_equal(self.owners.ids, owners.ids) and (
            self.is_steady or np.array_equal(self.previous.ids, self._ids_of_previous())
        ):
            return HeldTable(owners, self._previous_after(owners, gone))
        return HeldTable(owners, _previous_in(move(self.slots, owners.owners, gone=gone), owners))

    def settled(self, slots: Slots) -> HeldTable:
        """Return the table with these slots, which have the same owners.

        Those stay at their places, so that tables that were alike still are, and the next move is one for all of them.
        """
        return HeldTable(self.owners, _previous_in(slots, self.owners))

    def with_pinned(self, numbers: NDArray[np.integer]) -> HeldTable:
        """Return the table in which those of these slots are pinned that were steady, given by number."""
        slots = self.slots
        slots[numbers] = pin_all(slots[numbers])
        return self.settled(slots)

    def with_moving(self, numbers: NDArray[np.integer], previous: NDArray[np.uint16]) -> HeldTable:
        """Return the table in which these slots, given by number, move from these previous owners."""
        slots = self.slots
        slots[numbers] = slots[numbers] & np.uint32(0xFFFF) | previous.astype(np.uint32) << np.uint32(16)
        return self.settled(slots)

    def _previous_after(self, owners: Ownership, gone: AbstractSet[int]) -> Ownership:
        """Return the previous owners after a move to owners at the same places as the present ones.

        The previous owners are at the same places too, and behind them is PINNED, unless all slots are steady.
        """
        out = tuple([place for place, number in enumerate(self.owners.ids.tolist()) if number in gone])
        before = None if self.is_steady else self.previous.pattern
        pattern = _previous_after(self.owners.pattern, before, owners.pattern, out)
        if not len(pattern.taken):
            return _ALL_STEADY
        return Ownership(pattern, self._ids_of_previous())

    def _ids_of_previous(self) -> Owners:
        return _with_pinned(self.owners)

    @property
    def slots(self) -> Slots:
        """The slots as the maps have them."""
        slots: Slots = self.owners.owners.astype(np.uint32)
        if not self.is_steady:
            slots |= self.previous.owners.astype(np.uint32) << np.uint32(16)
        return slots

    @property
    def moving(self) -> NDArray[np.intp]:
        """The numbers of the slots that are moving: one array for all tables that share it."""
        return _moving(self.previous.pattern, self._place_of_pinned)

    def moved_from(self, before: HeldTable) -> NDArray[np.intp]:
        """Return the numbers of the moving slots whose owner is not the one that they have in `before`."""
        if np.array_equal(self.owners.ids, before.owners.ids):
            patterns = before.owners.pattern, self.owners.pattern, self.previous.pattern
            return _moved(*patterns, self._place_of_pinned)
        moving = self.moving
        moved: NDArray[np.intp] = moving[before.owners.of_slots(moving) != self.owners.of_slots(moving)]
        return moved

    def transition_from(self, before: HeldTable) -> Hashable | None:
        """Return what is equal for two transitions in which the same slots change and move; None if that is not known.

        A host that fails or comes back makes the same transition in all VIPs that have it: what follows from it for the
        slots need be computed only once.
        """
        if not np.array_equal(self.owners.ids, before.owners.ids):
            return None
        if not (self.is_steady or before.is_steady or np.array_equal(self.previous.ids, before.previous.ids)):
            return None
        patterns = before.owners.pattern, before.previous.pattern, self.owners.pattern, self.previous.pattern
        return (*patterns, self._place_of_pinned)

    @property
    def _place_of_pinned(self) -> int:
        """The place of PINNED among the previous owners; 0 if no slot is pinned."""
        return int(np.flatnonzero(self.previous.ids == PINNED)[0]) if self.counts.pinned else 0

    def are_as_in(self, other: HeldTable, numbers: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return for each of these slots, given by number, whether it is the same in another table."""
        same: NDArray[np.bool_] = (self.owners.of_slots(numbers) == other.owners.of_slots(numbers)) & (
            self.previous.of_slots(numbers) == other.previous.of_slots(numbers)
        )
        return same

    @property
    def is_steady(self) -> bool:
        """Whether all slots are steady."""
        return not self.previous.owned

    @property
    def has_owner(self) -> bool:
        """Whether any slot has an owner."""
        return bool(self.owners.owned)

    @property
    def named(self) -> frozenset[int]:
        """The ids of all backends that own a slot or are a previous owner."""
        return frozenset(self.owners.owned.keys() | self.previous.owned.keys()) - {PINNED}

    def names(self, backend_id: int) -> bool:
        """Return whether this backend owns a slot or is a previous owner."""
        return backend_id in self.owners.owned or backend_id in self.previous.owned

    @cached_property
    def counts(self) -> SlotCounts:
        """How many slots are in each state."""
        marked = sum(self.previous.owned.values())
        pinned = self.previous.owned.get(PINNED, 0)
        return SlotCounts(TABLE_SIZE - marked, marked - pinned, pinned)

    @cached_property
    def shares(self) -> Mapping[int, float]:
        """Each owner's share, 0 to 1, of the slots and thus of new connections."""
        return {number: owned / TABLE_SIZE for number, owned in sorted(self.owners.owned.items())}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeldTable):
            return NotImplemented
        return self.owners == other.owners and self.previous == other.previous

    __hash__ = None  # type: ignore[assignment]


@lru_cache(_CACHED_MOVES)
def _previous_after(before: Pattern, previous: Pattern | None, after: Pattern, gone: tuple[int, ...]) -> Pattern:
    """Return the previous owners after a move, with the rules of `move` for places; None for previous: all are steady.

    A host that fails or comes back makes the same move in all VIPs that have it.
    """
    steady, pinned = 0, len(before.owned)
    is_gone = np.zeros(pinned + 1, np.bool_)
    is_gone[list(gone)] = True
    owners = before.places.astype(np.uint16)
    old = np.zeros_like(owners) if previous is None else previous.places.astype(np.uint16)
    moving = (old != steady) & (old != pinned)
    leaves = ~moving & (owners != after.places) & (owners != steady) & ~is_gone[owners]
    new = np.where(leaves, owners, old)
    return Pattern(np.where(moving & is_gone[old], np.uint16(pinned), new), pinned)


def _with_pinned(owners: Ownership) -> Owners:
    return np.append(owners.ids, np.uint16(PINNED))


def _previous_in(slots: Slots, owners: Ownership) -> Ownership:
    """Return the previous owners in these slots, at the places that they have in `owners`, and behind them PINNED."""
    previous = (slots >> np.uint32(16)).astype(np.uint16)
    return Ownership.over(_with_pinned(owners), previous) if previous.any() else _ALL_STEADY


@lru_cache(_CACHED_MOVES)
def _moving(previous: Pattern, pinned: int) -> NDArray[np.intp]:
    """Return the numbers of the slots with a previous owner that is not at the place `pinned`, 0 if none is there."""
    return np.flatnonzero((previous.places != pinned) & (previous.places != STEADY)) if pinned else previous.taken


@lru_cache(_CACHED_MOVES)
def _moved(before: Pattern, after: Pattern, previous: Pattern, pinned: int) -> NDArray[np.intp]:
    """Return the numbers of the moving slots whose owner changes its place."""
    moving = _moving(previous, pinned)
    moved: NDArray[np.intp] = moving[before.places[moving] != after.places[moving]]
    return moved


_ALL_STEADY = Ownership.of(np.full(TABLE_SIZE, STEADY, np.uint16))

NO_TABLE = HeldTable.steady(Ownership.of(np.zeros(TABLE_SIZE, np.uint16)))
"""Nobody owns any slot of it: what packets see where there is no table."""
