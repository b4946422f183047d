# SPDX-License-Identifier: Apache-2.0
"""What happens to a VIP's slots when their owners change.

A slot is a 32-bit number: the owner's id in the low half, and in the high half the previous owner's id, or a marker.

- *steady*: the owner gets every packet; no flow is looked up.
- *moving*: an open connection without a record goes to the previous owner; every flow seen is recorded.
- *pinned*: a flow's record wins over the owner. Each connection that was open at the move is recorded or has ended.

A slot goes steady -> moving (`move`) -> pinned (`pin`) -> steady (`find_settled`, `release`). All functions return
new arrays and do not change their arguments.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .compiled import LOOPS, address
from .pattern import NOBODY, Owners

__all__ = [
    "NOBODY",
    "PINNED",
    "STEADY",
    "Owners",
    "SlotCounts",
    "Slots",
    "find_settled",
    "is_moving",
    "move",
    "pack",
    "pin",
    "pin_all",
    "release",
    "unpack",
]

Slots = NDArray[np.uint32]

STEADY = 0
"""As a previous owner: the slot is steady."""
PINNED = 0xFFFF
"""As a previous owner: the slot is pinned."""

_IDS = 1 << 16


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """The number of slots of a table in each state."""

    steady: int
    moving: int
    pinned: int


def pack(owners: Owners, previous: NDArray[np.uint16]) -> Slots:
    """Return the slots with these owners and previous owners (an id, STEADY or PINNED)."""
    slots: Slots = owners.astype(np.uint32) | previous.astype(np.uint32) << np.uint32(16)
    return slots


def unpack(slots: Slots) -> tuple[Owners, NDArray[np.uint16]]:
    """Return owners and previous owners: the reverse of `pack`."""
    return slots.astype(np.uint16), (slots >> np.uint32(16)).astype(np.uint16)


def is_moving(slots: Slots) -> NDArray[np.bool_]:
    """Return for each slot whether it is moving."""
    previous = slots >> np.uint32(16)
    moving: NDArray[np.bool_] = (previous != STEADY) & (previous != PINNED)
    return moving


def move(current: Slots, owners: Owners, *, gone: AbstractSet[int] = frozenset()) -> Slots:
    """Return the slots with `owners` as their new owners, such that open connections keep their backends.

    `gone` are the ids of backends that get no packets any more, not even of open connections. None of them becomes a
    previous owner. A slot that was moving away from one becomes pinned, since it may have records of other backends.
    """
    is_gone = _members(gone)
    if LOOPS is None:
        return _move_in_numpy(current, owners, is_gone)
    current, owners = np.ascontiguousarray(current), np.ascontiguousarray(owners)
    slots = np.empty(len(current), np.uint32)
    LOOPS.xdplb_move(address(current), address(owners), address(is_gone), len(slots), address(slots))
    return slots


def pin(slots: Slots, chosen: NDArray[np.integer]) -> Slots:
    """Pin those of the chosen slots that are moving; the chosen ones are given by number."""
    pinned = slots.copy()
    each = slots[chosen]
    pinned[chosen] = np.where(is_moving(each), _owners(each) | np.uint32(PINNED << 16), each)
    return pinned


def find_settled(
    slots: Slots, record_slots: NDArray[np.integer], record_backends: NDArray[np.integer], live: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the pinned slots that may become steady: those without a live record of another backend than the owner.

    The flow records are given as columns: the slot, the backend's id, and whether the record is live: its connection
    has not ended, and the id was not given to another backend since. With `tracking = always`, records are looked up in
    steady slots too, so no record prevents that: pass empty columns.
    """
    differs = live & (_owners(slots)[record_slots] != record_backends)
    pinned = slots >> np.uint32(16) == PINNED
    pinned[record_slots[differs]] = False
    return np.flatnonzero(pinned)


def release(slots: Slots, settled: NDArray[np.intp]) -> Slots:
    """Make these pinned slots steady. Slots that are not pinned (any more) stay as they are.

    Their records must be deleted after the result is published: a later move must not find them.
    """
    released = slots.copy()
    chosen = slots[settled]
    released[settled] = np.where(chosen >> np.uint32(16) == PINNED, _owners(chosen), chosen)
    return released


def pin_all(slots: Slots) -> Slots:
    """Pin those of these slots that are steady, since they may have records of other backends.

    So have those of a VIP that recorded every flow until now, and those that another balancer has told of. Moving slots
    keep their previous owner; their flows are looked up anyway.
    """
    return np.where(slots >> np.uint32(16) == STEADY, slots | np.uint32(PINNED << 16), slots)


def _move_in_numpy(current: Slots, owners: Owners, is_gone: NDArray[np.bool_]) -> Slots:
    old_owners, previous = unpack(current)
    moving = is_moving(current)
    changed = (owners != old_owners) & ~moving  # a slot that moves twice keeps its first previous owner
    worth_keeping = ~is_gone[old_owners] & (old_owners != NOBODY)
    previous = np.where(changed & worth_keeping, old_owners, previous)
    previous = np.where(moving & is_gone[previous], np.uint16(PINNED), previous)
    return pack(owners, previous)


def _owners(slots: Slots) -> Slots:
    return slots & np.uint32(0xFFFF)


def _members(ids: AbstractSet[int]) -> NDArray[np.bool_]:
    """Return an array with an entry for every id: whether it is in `ids`."""
    table = np.zeros(_IDS, np.bool_)
    table[np.fromiter(ids, np.intp, len(ids))] = True
    return table
