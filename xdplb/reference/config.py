"""What the control plane has written: the part of the data plane that no packet changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry, Slots, VipEntry
from xdplb.model.access import AccessList

__all__ = ["Config", "Slot", "SlotState"]


NO_BACKEND = 0
PINNED = 0xFFFF


class SlotState(StrEnum):
    """What is known of the flows of a slot, see docs/connections.md."""

    STEADY = "steady"
    MOVING = "moving"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot: its owner's id, 0 for nobody, its state, and the id of the previous owner where it is moving, else 0."""

    owner: int
    state: SlotState
    previous: int

    @classmethod
    def of(cls, value: int) -> Slot:
        """Return the slot in a table's number: the owner in the low half, the previous one's fate in the high."""
        owner, previous = value & 0xFFFF, value >> 16
        if previous == NO_BACKEND:
            return cls(owner, SlotState.STEADY, NO_BACKEND)
        if previous == PINNED:
            return cls(owner, SlotState.PINNED, NO_BACKEND)
        return cls(owner, SlotState.MOVING, previous)


@dataclass(frozen=True, slots=True)
class Config:
    """VIPs, their tables and access lists by VIP id, backends by their id.

    `features` are what the program was compiled for. Frames may leave by the NICs `interfaces` (ifindexes), besides the
    one they came in by. `max_backends` is the largest id there is room for.
    """

    vips: Mapping[int, VipEntry]
    tables: Mapping[int, Slots]
    backends: Mapping[int, BackendEntry]
    features: Features
    access: Mapping[int, AccessList] = field(default_factory=dict)
    interfaces: frozenset[int] = frozenset()
    max_backends: int = 0xFFFE

    def slot(self, vip_id: int, number: int) -> Slot:
        """Return a slot of a VIP's table, nobody's where the VIP has none."""
        table = self.tables.get(vip_id)
        return Slot.of(0 if table is None else int(table[number % TABLE_SIZE]))

    def is_usable(self, backend_id: int) -> bool:
        """Whether packets may be sent to this backend: it is there, not down, and its next hop is known."""
        backend = self.backends.get(backend_id)
        return backend is not None and backend.usable and backend.next_hop is not None

    def is_current(self, backend_id: int, epoch: int) -> bool:
        """Whether what was noted for this backend holds: it is usable, and its id was not given to another since."""
        return self.is_usable(backend_id) and self.backends[backend_id].epoch == epoch
