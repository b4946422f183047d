# SPDX-License-Identifier: Apache-2.0
"""Settling slots, from moving to pinned to steady: when that may happen, and which records are deleted then.

A moving slot is pinned once its VIP's idle timeout has passed since its last move: connections open at that time have
a record by now, or are gone. With other balancers, which take a change up to PEERS_LATE_SECONDS sooner or later, it
waits for so much longer, and then moves from its owner to its owner for as long, before it is pinned: what begins here
meanwhile is still recorded, and told to those that take what they do not know for old.

A pinned slot becomes steady once all open connections recorded in it are with its owner. Its records are deleted after
the table is published, since a later move must not find them. No record made between scan and publication is missed: a
pinned slot records nothing new, slots that changed since the scan are skipped, and those in which records of other
balancers were written.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import slots_of_flows
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import STEADY, Slots, find_settled, pin, release
from xdplb.dataplane.layout import FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import FlowRecords, VipEntry

__all__ = ["PEERS_LATE_SECONDS", "MoveTimes", "Release", "Scan", "find_release", "select", "stale_records"]

PEERS_LATE_SECONDS = 30.0
"""How much sooner or later than this balancer others may take a change, or a VIP's idle timeout if that is shorter."""

_NONE = np.empty(0, np.intp)
_LOWER = (1 << 64) - 1
_MOST_SHARED = 64


class MoveTimes:
    """When each moving slot last moved, in seconds of one clock. Kept in memory: a restart starts them again.

    A host that fails or comes back moves the same slots of all VIPs that have it. So that they share these times, which
    take half a megabyte, moves count from the end of the second in which they are published.
    """

    def __init__(self) -> None:
        self._moves: dict[int, _Moves] = {}
        self._shared: dict[Hashable, _Moves] = {}
        self._shared_at = 0.0

    def published(self, vip_id: int, before: HeldTable | None, after: HeldTable, now: float) -> None:
        """Note the slots that move with a table published at `now`."""
        known = self._moves.pop(vip_id, None)
        if not len(after.moving):
            return
        at = float(math.ceil(now))
        transition = None if before is None else after.transition_from(before)
        if transition is None:
            self._moves[vip_id] = _moves_after(known, before, after, at)
            return
        if at != self._shared_at or len(self._shared) >= _MOST_SHARED:
            self._shared, self._shared_at = {}, at
        moves = self._shared.get((known, transition))
        if moves is None:
            moves = self._shared[known, transition] = _moves_after(known, before, after, at)
        self._moves[vip_id] = moves

    def ages(self, vip_id: int, now: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the moving slots of a VIP, by number in ascending order, and how long ago each moved last."""
        moves = self._moves.get(vip_id)
        if moves is None:
            return _NONE, np.empty(0)
        return moves.slots, np.maximum(now - moves.times, 0.0)

    def moved_before(self, vip_id: int, numbers: NDArray[np.integer], times: NDArray[np.float64]) -> None:
        """Note that these moving slots of a VIP, by number, moved last at these times, as another balancer has told."""
        moves = self._moves.get(vip_id)
        if moves is None or not len(numbers):
            return
        places = np.minimum(np.searchsorted(moves.slots, numbers), len(moves.slots) - 1)
        there = moves.slots[places] == numbers
        later = moves.times.copy()
        later[places[there]] = times[there]
        self._moves[vip_id] = _Moves(moves.slots, later, float(later.min()))

    def forget(self, vip_id: int) -> None:
        """Forget a VIP that was removed."""
        self._moves.pop(vip_id, None)

    def pinned(
        self, vip_id: int, table: HeldTable, now: float, idle_seconds: float, late_seconds: float = 0.0
    ) -> HeldTable | None:
        """Return the table with those moving slots pinned whose idle timeout has passed, None if there are none.

        With `late_seconds`, the most that other balancers may be late, in the two steps that the module tells of.
        """
        moves = self._moves.get(vip_id)
        if moves is None or now - moves.oldest <= min(idle_seconds, late_seconds or idle_seconds):
            return None
        ages = now - moves.times
        if not late_seconds:
            over = moves.slots[ages > idle_seconds]
            return table.settled(pin(table.slots, over)) if len(over) else None
        owners = table.owners.of_slots(moves.slots)
        is_last = owners == table.previous.of_slots(moves.slots)
        first, over = ~is_last & (ages > idle_seconds + late_seconds), is_last & (ages > late_seconds)
        if not (first | over).any():
            return None
        return table.settled(pin(table.with_moving(moves.slots[first], owners[first]).slots, moves.slots[over]))


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """The moving slots of a VIP by number, in ascending order, when each last moved, and the first of these times."""

    slots: NDArray[np.intp]
    times: NDArray[np.float64]
    oldest: float


def _moves_after(known: _Moves | None, before: HeldTable | None, after: HeldTable, now: float) -> _Moves:
    """Return the moving slots of `after`: those that are as in `before` keep the times that are known of them."""
    moving = after.moving
    times = np.broadcast_to(np.float64(now), len(moving))  # which takes no memory for each slot
    if before is not None and known is not None:
        times = times.copy()
        places = np.minimum(np.searchsorted(known.slots, moving), len(known.slots) - 1)
        stayed = (known.slots[places] == moving) & after.are_as_in(before, moving)
        times[stayed] = known.times[places[stayed]]
    return _Moves(moving, times, float(times.min()))


@dataclass(frozen=True, slots=True)
class Scan:
    """A reading of the flow table: the tables before it, the records, and which belong to an open connection.

    `told` is how many times records of other balancers had been written before it.
    """

    tables: Mapping[int, HeldTable]
    flows: FlowRecords
    live: NDArray[np.bool_]
    told: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """A table with some pinned slots made steady, and the records to delete once it is published."""

    table: HeldTable
    stale: NDArray[np.intp]


def find_release(
    vip: VipEntry, table: HeldTable, scan: Scan | None, told: NDArray[np.integer] = _NONE
) -> Release | None:
    """Return which pinned slots of a VIP can become steady, None if there are none, or no scan to tell.

    `told` are slots in which records of other balancers were written since the scan began. They wait for the next one.
    A slot that has changed since the scan started waits for the next one. A VIP that records every flow looks up
    records in steady slots too, so it needs no scan, and its records are kept.
    """
    current = table.slots
    if vip.track_always:
        settled, stale = find_settled(current, _NONE, _NONE, _NONE.astype(np.bool_)), _NONE
    elif scan is None or vip.id not in scan.tables:
        return None
    else:
        settled, stale = _settled_and_stale(vip, current, scan, told)
    return Release(table.settled(release(current, settled)), stale) if len(settled) else None


def _settled_and_stale(
    vip: VipEntry, current: Slots, scan: Scan, told: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    scanned = scan.tables[vip.id].slots
    mine = records_of(vip, scan.flows)
    slots = slots_of(vip, scan.flows, mine)
    settled = find_settled(scanned, slots, scan.flows.backend[mine], scan.live[mine])
    settled = settled[(scanned[settled] == current[settled]) & ~np.isin(settled, told)]  # unchanged since the scan
    is_settled = np.zeros(len(current), np.bool_)
    is_settled[settled] = True
    return settled, mine[is_settled[slots]]


def stale_records(vips: Collection[VipEntry], tables: Mapping[int, HeldTable], flows: FlowRecords) -> NDArray[np.intp]:
    """Return the records that must not exist: in a steady slot of a VIP that records only what moves, or of no VIP.

    They are left behind if a daemon dies between publishing a steady slot and deleting its records. A VIP with second
    choices has some in steady slots: those of the connections that went to one, and the notes of SYNs.
    """
    stale = np.ones(len(flows.backend), np.bool_)
    for vip in vips:
        mine = records_of(vip, flows)
        table = tables.get(vip.id)
        if vip.track_always:
            stale[mine] = False
        elif table is not None and len(mine):
            steady = table.previous.owners == STEADY
            stale[mine] = steady[slots_of(vip, flows, mine)]
            if vip.second_choice:
                stale[mine] &= ~(flows.probation[mine] | ((flows.flags[mine] & FLOW_SECOND_CHOICE) != 0))
    return np.flatnonzero(stale)


def records_of(vip: VipEntry, flows: FlowRecords) -> NDArray[np.intp]:
    """Return which records belong to this VIP: made under its id, and not for another VIP that had the id before."""
    mine = np.flatnonzero(flows.vip == vip.id)
    key = vip.key
    shift = key.address.max_prefixlen - (key.prefix_length or 0)
    low, ports = int(key.address), key.ports
    is_there: NDArray[np.bool_] = (
        (flows.version[mine] == key.address.version)
        & _is_between(flows.destination[mine], low, low + (1 << shift) - 1)
        & (flows.destination_port[mine] >= ports[0])
        & (flows.destination_port[mine] <= ports[-1])
        & np.isin(flows.protocol[mine], key.protocol.numbers)
    )
    return mine[is_there]


def _is_between(addresses: NDArray[np.uint64], first: int, last: int) -> NDArray[np.bool_]:
    """Return which addresses, of shape (n, 2), are from `first` to `last`, the first and last address of a prefix."""
    upper, lower = addresses[:, 0], addresses[:, 1]
    upper_ends = np.uint64(first >> 64), np.uint64(last >> 64)
    within = (upper >= upper_ends[0]) & (upper <= upper_ends[1])
    if upper_ends[0] == upper_ends[1]:
        within &= (lower >= np.uint64(first & _LOWER)) & (lower <= np.uint64(last & _LOWER))
    return within


def slots_of(vip: VipEntry, flows: FlowRecords, records: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Return the slot of each of these records of the VIP."""
    return slots_of_flows(
        vip.key.address.version,
        flows.source[records],
        flows.source_port[records],
        flows.destination[records],
        flows.destination_port[records],
        kind=vip.hash,
    )


def select(flows: FlowRecords, chosen: NDArray[np.intp]) -> FlowRecords:
    """Return the chosen records."""
    return FlowRecords(**{field.name: getattr(flows, field.name)[chosen] for field in fields(flows)})
