"""What becomes of a VIP's slots when their owners change.

A slot is a number of 32 bits: the owner's id in the low half, in the high half what became of the previous owner.

- *steady*: the owner gets every packet, and no flow is looked up.
- *moving*: old connections that no record places go to the previous owner; everything seen is recorded.
- *pinned*: a record wins over the owner; all that was open when the slot moved is recorded or gone.

A slot goes steady -> moving (`move`) -> pinned (`settle`) -> steady (`find_settled`, `release`). Every function
returns new arrays and leaves those given alone.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hashing import TABLE_SIZE

__all__ = [
    "NOBODY",
    "PINNED",
    "STEADY",
    "Owners",
    "SlotCounts",
    "Slots",
    "counts",
    "find_settled",
    "is_moving",
    "move",
    "named",
    "pack",
    "pin_all",
    "release",
    "settle",
    "shares",
    "unpack",
]

Slots = NDArray[np.uint32]
Owners = NDArray[np.uint16]

NOBODY = 0
"""As owner: no backend."""
STEADY = 0
"""As previous: the slot is steady."""
PINNED = 0xFFFF
"""As previous: the slot is pinned."""

_IDS = 1 << 16


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """How many slots of a table are in each state."""

    steady: int
    moving: int
    pinned: int


def pack(owners: Owners, previous: NDArray[np.uint16]) -> Slots:
    """Return the slots with these owners and previous owners (STEADY, PINNED or an id)."""
    slots: Slots = owners.astype(np.uint32) | previous.astype(np.uint32) << np.uint32(16)
    return slots


def unpack(slots: Slots) -> tuple[Owners, NDArray[np.uint16]]:
    """Return owners and previous owners, the reverse of `pack`."""
    return slots.astype(np.uint16), (slots >> np.uint32(16)).astype(np.uint16)


def is_moving(slots: Slots) -> NDArray[np.bool_]:
    """Return for each slot whether it is moving."""
    previous = slots >> np.uint32(16)
    moving: NDArray[np.bool_] = (previous != STEADY) & (previous != PINNED)
    return moving


def move(current: Slots, owners: Owners, *, gone: AbstractSet[int] = frozenset()) -> Slots:
    """Return the slots once `owners` own them, such that open connections stay where they are.

    `gone` are the ids of backends that are out at once, whose connections are not worth keeping: they become
    nobody's previous owner, and a slot that was moving away from one is pinned, since records of others may be left.
    """
    old_owners, previous = unpack(current)
    is_gone = _members(gone)
    moving = is_moving(current)
    changed = (owners != old_owners) & ~moving  # what moves again while moving keeps its oldest previous owner
    worth_keeping = ~is_gone[old_owners] & (old_owners != NOBODY)
    previous = np.where(changed & worth_keeping, old_owners, previous)
    previous = np.where(moving & is_gone[previous], np.uint16(PINNED), previous)
    return pack(owners, previous)


def settle(slots: Slots, moved_at: NDArray[np.float64], now: float, idle_seconds: float) -> Slots:
    """Pin the moving slots whose last move, at `moved_at` (seconds, on `now`'s clock), is over `idle_seconds` ago."""
    over = is_moving(slots) & (now - moved_at > idle_seconds)
    return np.where(over, _owners(slots) | np.uint32(PINNED << 16), slots)


def find_settled(
    slots: Slots, record_slots: NDArray[np.integer], record_backends: NDArray[np.integer], live: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the pinned slots that may be steady: none of their live records differs from the owner.

    The flow records are columns: the slot each falls into, its backend's id, and whether it counts: its connection
    has not ended, and the id was not given to another backend since. With `tracking = always` records are looked up
    in steady slots too, so that none stands in the way: pass empty columns.
    """
    differs = live & (_owners(slots)[record_slots] != record_backends)
    pinned = slots >> np.uint32(16) == PINNED
    pinned[record_slots[differs]] = False
    return np.flatnonzero(pinned)


def release(slots: Slots, settled: NDArray[np.intp]) -> Slots:
    """Make these pinned slots steady; those that are not pinned (any more) are left as they are.

    Records in them must be deleted once this is published: a later move must not find them.
    """
    released = slots.copy()
    chosen = slots[settled]
    released[settled] = np.where(chosen >> np.uint32(16) == PINNED, _owners(chosen), chosen)
    return released


def pin_all(slots: Slots) -> Slots:
    """Pin the steady slots, for a VIP that recorded every flow until now: records may differ from owners anywhere.

    Moving slots keep their previous owner and are looked up anyway.
    """
    return np.where(slots >> np.uint32(16) == STEADY, slots | np.uint32(PINNED << 16), slots)


def named(slots: Slots) -> frozenset[int]:
    """Return the ids of all backends that are an owner or a previous owner."""
    present = np.zeros(_IDS, np.bool_)
    for half in unpack(slots):
        present[half] = True
    present[[NOBODY, PINNED]] = False
    return frozenset(np.flatnonzero(present).tolist())


def counts(slots: Slots) -> SlotCounts:
    """Count the slots in each state."""
    moving = int(np.count_nonzero(is_moving(slots)))
    pinned = int(np.count_nonzero(slots >> np.uint32(16) == PINNED))
    return SlotCounts(len(slots) - moving - pinned, moving, pinned)


def shares(slots: Slots) -> dict[int, float]:
    """Return each owner's part, 0 to 1, of the slots and so of new connections. Slots of nobody are nobody's part."""
    owned = np.bincount(_owners(slots), minlength=1)
    owned[NOBODY] = 0
    owners = np.flatnonzero(owned)
    return dict(zip(owners.tolist(), (owned[owners] / TABLE_SIZE).tolist(), strict=True))


def _owners(slots: Slots) -> Slots:
    return slots & np.uint32(0xFFFF)


def _members(ids: AbstractSet[int]) -> NDArray[np.bool_]:
    """Return a table of all ids that says which are in `ids`."""
    table = np.zeros(_IDS, np.bool_)
    table[np.fromiter(ids, np.intp, len(ids))] = True
    return table
