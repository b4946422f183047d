# SPDX-License-Identifier: Apache-2.0
"""The balancers that the simulation of connections compares. Each handles many connections per call, as arrays.

All of them hash a connection to a slot and build their tables with `xdplb.balance`. Plain Maglev rebuilds its table at
each change from the backends in service; xdplb refills it and moves slots, as its control plane does.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.slots import STEADY, find_settled, is_moving, move, pin, release, unpack
from xdplb.balance.table import WeightedBackend, build

__all__ = ["Balancer", "Flows", "Maglev", "RecordingMaglev", "Xdplb"]

Ids = NDArray[np.uint16]
Places = NDArray[np.intp]
NONE = np.empty(0, np.intp)
IDS = 1 << 16
PROBATION_PART = 4
"""The table of first packets has room for a part of what the one of open connections has."""


@dataclass(frozen=True, slots=True)
class Flows:
    """Connections, as columns: their indexes in the simulation's arrays, and their slots."""

    places: Places
    slots: NDArray[np.uint32]


class Balancer(Protocol):
    """What the simulation needs of a balancer."""

    @property
    def records(self) -> int:
        """How many connections it has on record."""
        ...

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Set the backends: those `out` get no new connections, those not `surviving` get nothing at all."""
        ...

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return which backend gets each of these new connections."""
        ...

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return which backend gets a packet of each of these connections."""
        ...

    def forget(self, places: Places) -> None:
        """Forget these connections, which have ended."""
        ...

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Receive SYNs that nothing follows, given by their slots."""
        ...

    def settle(self, now: int) -> None:
        """Do what the control plane does once a tick."""
        ...


class Maglev:
    """Plain Maglev without a flow table: a packet goes where the current table says."""

    def __init__(self) -> None:
        self._owners: Ids = np.zeros(TABLE_SIZE, np.uint16)

    records = 0

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Rebuild the table from the backends in service."""
        self._owners = build([backend for backend in configured if backend.id not in out], frozenset())

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners."""
        owners: Ids = self._owners[flows.slots]
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return the owners: nothing else is known."""
        return self.syn(flows, now)

    def forget(self, places: Places) -> None:
        """Do nothing: nothing is recorded."""

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Do nothing: no SYN is recorded."""

    def settle(self, now: int) -> None:
        """Do nothing: slots have no state."""


class _Records:
    """A flow table, by index of the connection. Above `capacity` records, the least recently used are evicted.

    For records made by a flood, only their number is kept, for each tick.
    """

    def __init__(self, connections: int, capacity: int) -> None:
        self.backend: Ids = np.zeros(connections, np.uint16)
        self._seen = np.zeros(connections, np.int64)
        self._capacity = capacity
        self._usable = np.ones(IDS, np.bool_)
        self._flood: dict[int, int] = {}

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.backend)) + sum(self._flood.values())

    def use(self, surviving: AbstractSet[int]) -> None:
        """Let only records of these backends count."""
        self._usable[:] = False
        self._usable[list(surviving)] = True

    def get(self, places: Places, now: int) -> Ids:
        """Return the recorded backends (0: no record that counts), and mark these records as used."""
        self._seen[places] = now
        found = self.backend[places]
        return np.where(self._usable[found], found, np.uint16(0))

    def put(self, places: Places, backends: Ids, now: int) -> None:
        self.backend[places], self._seen[places] = backends, now
        self._evict()

    def delete(self, places: Places) -> None:
        self.backend[places] = 0

    def flood(self, count: int, now: int) -> None:
        """Add this many records that are never looked up again."""
        self._flood[now] = self._flood.get(now, 0) + count
        self._evict()

    def _evict(self) -> None:
        """Evict tick by tick, the oldest first; in the last of these ticks, the flood's records first."""
        over = self.count - self._capacity
        if over <= 0:
            return
        held = np.flatnonzero(self.backend)
        seen = self._seen[held]
        for tick in sorted({*np.flatnonzero(np.bincount(seen)).tolist(), *self._flood}):
            made = self._flood.pop(tick, 0)
            flooded = min(made, over)
            if made > flooded:
                self._flood[tick] = made - flooded
            oldest = held[seen == tick][: over - flooded]
            self.backend[oldest] = 0
            over -= flooded + len(oldest)
            if over == 0:
                break


class RecordingMaglev(Maglev):
    """Plain Maglev that records every connection, as Katran does, in a table of `capacity` records."""

    def __init__(self, connections: int, capacity: int) -> None:
        super().__init__()
        self._records = _Records(connections, capacity)

    @property
    def records(self) -> int:  # type: ignore[override]
        """How many connections it has on record."""
        return self._records.count

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Rebuild the table; records of removed backends no longer count."""
        super().change(configured, out, surviving, now)
        self._records.use(surviving)

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners, and record them."""
        owners = super().syn(flows, now)
        self._records.put(flows.places, owners, now)
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return the recorded backend, else the owner, which is then recorded."""
        recorded = self._records.get(flows.places, now)
        missing = recorded == 0
        recorded[missing] = self._owners[flows.slots[missing]]
        self._records.put(flows.places[missing], recorded[missing], now)
        return recorded

    def forget(self, places: Places) -> None:
        """Delete the records."""
        self._records.delete(places)

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Record all of them."""
        self._records.flood(len(syns), now)


class Xdplb:
    """xdplb. With `always` it records every connection, otherwise only those in moving slots.

    Records of connections are never on probation here, because a handshake ends within a tick.
    """

    def __init__(self, connections: int, capacity: int, idle_ticks: int, *, always: bool) -> None:
        self._records = _Records(connections, capacity)
        self._slot_of = np.zeros(connections, np.uint32)
        self._slots = np.zeros(TABLE_SIZE, np.uint32)
        self._moved_at = np.zeros(TABLE_SIZE, np.float64)
        self._idle_ticks = idle_ticks
        self._always = always
        self._probation = capacity // PROBATION_PART
        self._on_probation = 0

    @property
    def records(self) -> int:
        """How many records it has, including those on probation."""
        return self._records.count + self._on_probation

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Refill the table, and move the slots whose owner has changed."""
        self._records.use(surviving)
        owners = build(configured, out)
        present = {int(id_) for id_ in np.unique(np.concatenate(unpack(self._slots)))}
        moved = move(self._slots, owners, gone=frozenset(present - surviving - {0, 0xFFFF}))
        changed = (moved ^ self._slots) & np.uint32(0xFFFF) != 0
        self._moved_at[changed] = now
        self._slots = moved

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners; connections in moving slots are recorded."""
        self._slot_of[flows.places] = flows.slots
        slots = self._slots[flows.slots]
        owners, _ = unpack(slots)
        recorded = np.full(len(slots), self._always) | is_moving(slots)
        self._records.put(flows.places[recorded], owners[recorded], now)
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return the owner in a steady slot, else the recorded backend, else in a moving slot the previous owner."""
        slots = self._slots[flows.slots]
        backends, previous = unpack(slots)
        moving = is_moving(slots)
        backends[moving] = previous[moving]
        asked = np.flatnonzero((previous != STEADY) | self._always)
        recorded = self._records.get(flows.places[asked], now)
        backends[asked] = np.where(recorded != 0, recorded, backends[asked])
        new = asked[(recorded == 0) & (moving[asked] | self._always)]
        self._records.put(flows.places[new], backends[new], now)
        return backends

    def forget(self, places: Places) -> None:
        """Delete the records."""
        self._records.delete(places)

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Record those in moving slots: on probation, where they evict only each other."""
        recorded = len(syns) if self._always else int(np.count_nonzero(is_moving(self._slots[syns])))
        self._on_probation = min(self._on_probation + recorded, self._probation)

    def settle(self, now: int) -> None:
        """Pin slots that have moved for long enough. Make pinned slots steady once all their records name the owner."""
        self._slots = pin(self._slots, np.flatnonzero(now - self._moved_at > self._idle_ticks))
        held = NONE if self._always else np.flatnonzero(self._records.backend)
        live = np.ones(len(held), np.bool_)
        settled = find_settled(self._slots, self._slot_of[held], self._records.backend[held], live)
        self._slots = release(self._slots, settled)
        if not self._always:
            is_settled = np.zeros(TABLE_SIZE, np.bool_)
            is_settled[settled] = True
            self._records.delete(held[is_settled[self._slot_of[held]]])
