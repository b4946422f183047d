# SPDX-License-Identifier: Apache-2.0
"""A slot: who owns it, and what is known about its flows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xdplb.balance.hashing import TABLE_SIZE

__all__ = ["NO_BACKEND", "Slot", "SlotState", "other_slot_number", "slot_number"]

NO_BACKEND = 0
PINNED = 0xFFFF


class SlotState(StrEnum):
    """What is known about the flows of a slot, see docs/slots.md."""

    STEADY = "steady"
    MOVING = "moving"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot: its owner's id (0: none), its state, and the id of the previous owner if it is moving, else 0."""

    owner: int
    state: SlotState
    previous: int

    @classmethod
    def of(cls, value: int) -> Slot:
        """Return the slot for a number in a VIP's table: the owner in the low half, the previous owner in the high."""
        owner, previous = value & 0xFFFF, value >> 16
        if previous == NO_BACKEND:
            return cls(owner, SlotState.STEADY, NO_BACKEND)
        if previous == PINNED:
            return cls(owner, SlotState.PINNED, NO_BACKEND)
        return cls(owner, SlotState.MOVING, previous)


def slot_number(hashed: int) -> int:
    """Return the slot that the high half of a flow's hash falls into."""
    return (hashed >> 32) * TABLE_SIZE >> 32


def other_slot_number(hashed: int) -> int:
    """Return the slot that the low half falls into."""
    return (hashed & 0xFFFFFFFF) * TABLE_SIZE >> 32
