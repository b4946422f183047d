# SPDX-License-Identifier: Apache-2.0
"""What became of each connection of a draining backend, from one scan of the flow table to the next. Pure.

A record stays in the table after its connection has ended, until its slot settles. So a ledger that begins anew, after
a restart, finds most of what the one before had seen; the rest is handed on as numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xdplb.control.flows.drain import FIN_QUIET_SECONDS, HANDSHAKE_SECONDS, TOUCH_SECONDS
from xdplb.control.state.certificate import NOTHING_SEEN, Counted
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.dataplane.plane import FlowRecords

__all__ = ["Ledger", "RecordsOf", "Seen"]

_UDP = 17
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD], np.uint64
)
"""Odd numbers without a pattern, one for each word of a key."""


class _State(IntEnum):
    """What became of a connection; the names are those of `Counted`."""

    LEFT = 0
    CLOSED = 1
    RESET = 2
    IDLE = 3
    UNANSWERED = 4
    REDIALLED = 5
    HANDED_OVER = 6
    BROKEN = 7
    CUT = 8
    LOST = 9


class RecordsOf:
    """The records of a scan, looked up by the backend that they name, of these backends."""

    def __init__(self, flows: FlowRecords, backend_ids: Collection[int]) -> None:
        self.flows = flows
        found = np.flatnonzero(np.isin(flows.backend, np.fromiter(backend_ids, np.uint16, len(backend_ids))))
        self._found = found[np.argsort(flows.backend[found], kind="stable")]
        self._backends = flows.backend[self._found]
        self._all: NDArray[np.uint64] | None = None

    def of(self, backend_id: int, epoch: int) -> NDArray[np.intp]:
        """Return which records name this backend."""
        first, last = np.searchsorted(self._backends, [backend_id, backend_id + 1])
        named = self._found[first:last]
        mine: NDArray[np.intp] = named[self.flows.epoch[named] == epoch]
        return mine

    def has(self, names: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of these flows have a record, whatever backend it names."""
        if self._all is None:
            self._all = np.sort(_names(self.flows, np.arange(len(self.flows.backend))))
        if not len(self._all):
            return np.zeros(len(names), np.bool_)
        places = np.minimum(np.searchsorted(self._all, names), len(self._all) - 1)
        there: NDArray[np.bool_] = self._all[places] == names
        return there


@dataclass(frozen=True, slots=True)
class Seen:
    """A scan that found a draining backend: `seconds` after the drain began, its `id` and `epoch`, its VIP's timeout.

    `is_usable` is False if packets are not sent to it, so that its open connections break.
    """

    records: RecordsOf
    seconds: float
    id: int
    epoch: int
    idle_seconds: float
    is_usable: bool


class Ledger:
    """The connections of one drain that were seen so far, and what became of each."""

    def __init__(self, forgotten: Counted = NOTHING_SEEN) -> None:
        """Begin with those that an earlier ledger had counted, and of which there is no record any more."""
        self._before = forgotten
        self.counted = forgotten
        """How many came to which end."""
        self.forgotten = forgotten
        """How many of those that have ended have no record any more."""
        self._keys = np.empty(0, np.uint64)
        self._states = np.empty(0, np.uint8)
        self._is_udp = np.empty(0, np.bool_)
        self._is_there = np.empty(0, np.bool_)

    def note(self, seen: Seen, *, records_udp: bool) -> None:
        """Take in a scan; `records_udp`: the VIP's flows of UDP go by their records, and not by their slots."""
        if not records_udp:
            self._hand_over()
        flows, mine = seen.records.flows, seen.records.of(seen.id, seen.epoch)
        if not len(mine) and not len(self._keys):
            return
        mine = mine[_was_open_at_start(seen, mine) | np.isin(_names(flows, mine), self._keys)]
        names, first = np.unique(_names(flows, mine), return_index=True)
        mine = mine[first]
        self._add(names, flows.protocol[mine] == _UDP)
        places = np.searchsorted(self._keys, names)
        self._is_there[:] = False
        self._is_there[places] = True
        self._states[places] = _states(seen, mine)
        self._judge_missing(seen)
        if not records_udp:  # the records that are left decide nothing
            self._hand_over()
        self._count()

    def cut(self) -> None:
        """Note that the backend gets no packets from now on: UDP flows go on with another, other connections break."""
        self._hand_over()
        self._states[self._states == _State.LEFT] = _State.CUT
        self._count()

    def _hand_over(self) -> None:
        """Note that flows of UDP that were open go on with other backends."""
        self._states[(self._states == _State.LEFT) & self._is_udp] = _State.HANDED_OVER

    def _count(self) -> None:
        self.counted = self._before.plus(_numbers(self._states))
        self.forgotten = self._before.plus(_numbers(self._states[~self._is_there & (self._states != _State.LEFT)]))

    def _add(self, names: NDArray[np.uint64], is_udp: NDArray[np.bool_]) -> None:
        new = ~np.isin(names, self._keys)
        if not new.any():
            return
        keys = np.concatenate([self._keys, names[new]])
        order = np.argsort(keys)
        added = int(np.count_nonzero(new))
        self._keys = keys[order]
        self._states = np.concatenate([self._states, np.zeros(added, np.uint8)])[order]
        self._is_udp = np.concatenate([self._is_udp, is_udp[new]])[order]
        self._is_there = np.concatenate([self._is_there, np.zeros(added, np.bool_)])[order]

    def _judge_missing(self, seen: Seen) -> None:
        """Find out about open connections whose records are not there any more, or name another backend now."""
        missing = np.flatnonzero(~self._is_there & (self._states == _State.LEFT))
        if not len(missing):
            return
        moved = seen.records.has(self._keys[missing])
        udp = self._is_udp[missing]
        # Where the backend can be used, only another SYN takes a record from it; of UDP, a packet after the timeout.
        gone = np.where(udp, _State.IDLE, _State.REDIALLED)
        if not seen.is_usable:
            gone = np.where(udp, _State.HANDED_OVER, _State.BROKEN)
        self._states[missing] = np.where(moved, gone, _State.LOST)


def _names(flows: FlowRecords, chosen: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return a number for each of these flows that no other one has, as far as 64 bits go."""
    words = np.ascontiguousarray(flows.key[chosen]).view(np.uint64)
    mixed = words * _MIX
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX[::-1]
    mixed ^= mixed >> np.uint64(29)
    summed: NDArray[np.uint64] = mixed.sum(axis=1, dtype=np.uint64)
    return summed


def _was_open_at_start(seen: Seen, mine: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which connections were open when the drain began, as far as their records tell."""
    age, flags = seen.records.flows.age[mine], seen.records.flows.flags[mine]
    before_start = age - seen.seconds - TOUCH_SECONDS  # since the last packet when it began; less than 0: it came later
    longest = np.full(len(mine), float(seen.idle_seconds))
    longest[(flags & FLOW_ESTABLISHED) == 0] = HANDSHAKE_SECONDS
    longest[(flags & FLOW_FIN) != 0] = FIN_QUIET_SECONDS
    longest[(flags & FLOW_RST) != 0] = 0.0
    was_open: NDArray[np.bool_] = before_start <= longest
    return was_open


def _states(seen: Seen, mine: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return what the records tell of these connections now; `count_flows` of `drain.py` counts the same as open."""
    age, flags = seen.records.flows.age[mine], seen.records.flows.flags[mine]
    states = np.full(len(mine), _State.LEFT if seen.is_usable else _State.BROKEN, np.uint8)
    states[age > seen.idle_seconds + TOUCH_SECONDS] = _State.IDLE
    states[((flags & FLOW_ESTABLISHED) == 0) & (age >= HANDSHAKE_SECONDS)] = _State.UNANSWERED
    states[((flags & FLOW_FIN) != 0) & (age >= FIN_QUIET_SECONDS)] = _State.CLOSED
    states[(flags & FLOW_RST) != 0] = _State.RESET
    return states


def _numbers(states: NDArray[np.uint8]) -> Counted:
    counts: Mapping[int, int] = dict(enumerate(np.bincount(states, minlength=len(_State)).tolist()))
    return Counted(**{state.name.lower(): counts[state] for state in _State})
