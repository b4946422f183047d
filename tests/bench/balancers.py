"""The balancers that the simulation of connections compares, each for all its connections at once.

All of them hash a connection to a slot and build their tables by `xdplb.balance`. Plain Maglev rebuilds its table at
each change from the backends that serve; xdplb refills it and moves slots, as its control plane does.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.slots import STEADY, find_settled, is_moving, move, release, settle, unpack
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
    """Connections, as columns: their places in the simulation's arrays and the slots they fall into."""

    places: Places
    slots: NDArray[np.uint32]


class Balancer(Protocol):
    """What the simulation asks of one."""

    @property
    def records(self) -> int:
        """How many connections it has on record."""
        ...

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Take note of the backends: those `out` take nothing new, those not `surviving` nothing at all."""
        ...

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return which backend gets each of these new connections."""
        ...

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return which backend gets a packet of each of these connections."""
        ...

    def forget(self, places: Places) -> None:
        """Take note that these connections have ended."""
        ...

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Take SYNs that nothing follows, given by the slots they fall into."""
        ...

    def settle(self, now: int) -> None:
        """Do what the control plane does once a tick."""
        ...


class Maglev:
    """Plain Maglev without a flow table: a packet goes where the table of the moment says."""

    def __init__(self) -> None:
        self._owners: Ids = np.zeros(TABLE_SIZE, np.uint16)

    records = 0

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Build the table anew from those that serve."""
        self._owners = build([backend for backend in configured if backend.id not in out], frozenset())

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners."""
        owners: Ids = self._owners[flows.slots]
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return the owners, for nothing else is known."""
        return self.syn(flows, now)

    def forget(self, places: Places) -> None:
        """Nothing is held."""

    def flood(self, syns: NDArray[np.uint32], now: int) -> None:
        """Nothing is recorded."""

    def settle(self, now: int) -> None:
        """Nothing moves."""


class _Records:
    """A flow table by place. With more than `capacity` records the least recently used are evicted.

    Of records that a flood makes only their number is held, by the tick they were made in.
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
        """Let only records of these count."""
        self._usable[:] = False
        self._usable[list(surviving)] = True

    def get(self, places: Places, now: int) -> Ids:
        """Return the backends on record, 0 where there is none that counts, and note that they were asked for."""
        self._seen[places] = now
        found = self.backend[places]
        return np.where(self._usable[found], found, np.uint16(0))

    def put(self, places: Places, backends: Ids, now: int) -> None:
        self.backend[places], self._seen[places] = backends, now
        self._evict()

    def delete(self, places: Places) -> None:
        self.backend[places] = 0

    def flood(self, count: int, now: int) -> None:
        """Make that many records that nobody asks for again."""
        self._flood[now] = self._flood.get(now, 0) + count
        self._evict()

    def _evict(self) -> None:
        """Evict tick by tick, the oldest first; in the last of these ticks, first what the flood left there."""
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
    """Plain Maglev that records every connection, as Katran does, in a table that is full at `capacity`."""

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
        """Build the table anew; records of backends that are gone do not count."""
        super().change(configured, out, surviving, now)
        self._records.use(surviving)

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners, and record them."""
        owners = super().syn(flows, now)
        self._records.put(flows.places, owners, now)
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return who is on record, else the owner, who is then recorded."""
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
    """xdplb: `always` records every connection, without it only those in slots that move.

    The records of connections are open ones at once, for a handshake is over within a tick.
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
        """How many it has, with those on probation."""
        return self._records.count + self._on_probation

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Refill the table and move the slots whose owner is another."""
        self._records.use(surviving)
        owners = build(configured, out)
        present = {int(id_) for id_ in np.unique(np.concatenate(unpack(self._slots)))}
        moved = move(self._slots, owners, gone=frozenset(present - surviving - {0, 0xFFFF}))
        changed = (moved ^ self._slots) & np.uint32(0xFFFF) != 0
        self._moved_at[changed] = now
        self._slots = moved

    def syn(self, flows: Flows, now: int) -> Ids:
        """Return the owners; whoever falls into a moving slot is recorded."""
        self._slot_of[flows.places] = flows.slots
        slots = self._slots[flows.slots]
        owners, _ = unpack(slots)
        recorded = np.full(len(slots), self._always) | is_moving(slots)
        self._records.put(flows.places[recorded], owners[recorded], now)
        return owners

    def packet(self, flows: Flows, now: int) -> Ids:
        """Return the owner in a steady slot, else who is on record, else in a moving slot the previous owner."""
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
        """Record those that fall into moving slots: on probation, where they evict only one another."""
        recorded = len(syns) if self._always else int(np.count_nonzero(is_moving(self._slots[syns])))
        self._on_probation = min(self._on_probation + recorded, self._probation)

    def settle(self, now: int) -> None:
        """Pin what has moved for long enough; make steady what no record differs from, and delete its records."""
        self._slots = settle(self._slots, self._moved_at, now, self._idle_ticks)
        held = NONE if self._always else np.flatnonzero(self._records.backend)
        live = np.ones(len(held), np.bool_)
        settled = find_settled(self._slots, self._slot_of[held], self._records.backend[held], live)
        self._slots = release(self._slots, settled)
        if not self._always:
            is_settled = np.zeros(TABLE_SIZE, np.bool_)
            is_settled[settled] = True
            self._records.delete(held[is_settled[self._slot_of[held]]])
