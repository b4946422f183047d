# SPDX-License-Identifier: Apache-2.0
"""A simulation, without a kernel, of how many of a million connections are broken by changes of the backends.

`sequence` draws random changes, as operators and health checks make them: backends are added, removed, drained,
reweighted, fail and recover. Some changes come at the same time, some within one settling time, some long after.
`simulate` runs the same connections through them on a balancer (`balancers.py`). Each connection sends packets at its
own times, and is never silent for longer than the VIP's idle timeout; some end, and new ones begin. A connection is
broken when one of its packets reaches another backend than its SYN did; it does not count if its backend failed or was
removed. Time is divided into ticks. In a tick, changes come first, then packets, then the control plane settles slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tests.bench.balancers import Balancer, Flows
from xdplb.balance.hashing import TABLE_SIZE, flow_hash, slot_of
from xdplb.balance.table import WeightedBackend

__all__ = ["IDLE_TICKS", "Backends", "Change", "Kind", "Outcome", "sequence", "simulate"]

IDLE_TICKS = 20
"""The VIP's idle timeout: no connection is silent for longer, and a slot moves for as long."""

ENDED_A_TICK = 0.003
PAUSES = (0, 0, 1, 3, 8, IDLE_TICKS + 5)
"""Ticks between a change and the next: several at once, several within one settling time, and some far apart."""

PORT = 443
FIRST_CLIENT = 0x0A000000


class Kind(StrEnum):
    """What happens to a backend."""

    ADD = "add"
    REMOVE = "remove"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    REWEIGH = "reweigh"
    FAIL = "fail"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens at a tick, and the backends from then on."""

    tick: int
    kind: Kind
    backend: int
    after: Backends


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends of a VIP: weights by id, and which of them drain or have failed."""

    weights: dict[int, int]
    draining: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()

    @property
    def configured(self) -> list[WeightedBackend]:
        """All backends, as input for the table."""
        return [WeightedBackend(f"10.0.{id_ >> 8}.{id_ & 255}", id_, weight) for id_, weight in self.weights.items()]

    @property
    def out(self) -> frozenset[int]:
        """Those that take no new connections."""
        return self.draining | self.failed

    @property
    def surviving(self) -> frozenset[int]:
        """Those whose connections must not break."""
        return frozenset(self.weights) - self.failed

    def changed(self, kind: Kind, id_: int, weight: int) -> Backends:
        """Return the backends after this has happened to one of them."""
        match kind:
            case Kind.ADD | Kind.REWEIGH:
                return replace(self, weights={**self.weights, id_: weight})
            case Kind.REMOVE:
                kept = {other: weight for other, weight in self.weights.items() if other != id_}
                return Backends(kept, self.draining - {id_}, self.failed - {id_})
            case Kind.DRAIN:
                return replace(self, draining=self.draining | {id_})
            case Kind.UNDRAIN:
                return replace(self, draining=self.draining - {id_})
            case Kind.FAIL:
                return replace(self, failed=self.failed | {id_})
            case Kind.RECOVER:
                return replace(self, failed=self.failed - {id_})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a balancer: `broken` has the total at the end of each tick."""

    broken: NDArray[np.int64]
    opened: int
    most_records: int


def sequence(count: int, backends: int, rng: np.random.Generator) -> tuple[Backends, list[Change]]:
    """Return the first backends, and this many random changes. At least half of the backends are always in service."""
    start = now = Backends(dict.fromkeys(range(1, backends + 1), 1))
    changes: list[Change] = []
    tick = IDLE_TICKS
    while len(changes) < count:
        kind = Kind(rng.choice(list(Kind)))
        candidates = _candidates(kind, now, backends, backends + len(changes) + 1)
        if not candidates:
            continue
        chosen, weight = int(rng.choice(candidates)), int(rng.integers(1, 5))
        now = now.changed(kind, chosen, weight)
        changes.append(Change(tick, kind, chosen, now))
        tick += int(rng.choice(PAUSES))
    return start, changes


def _candidates(kind: Kind, now: Backends, backends: int, unused: int) -> list[int]:
    serving = sorted(now.weights.keys() - now.out)
    spare = len(serving) > backends // 2
    match kind:
        case Kind.ADD:  # with an unused id: leftovers of a removed backend must not count
            return [unused] if len(now.weights) < 2 * backends else []
        case Kind.REWEIGH:
            return sorted(now.weights)
        case Kind.DRAIN | Kind.FAIL:
            return serving if spare else []
        case Kind.REMOVE:
            return sorted(now.weights) if spare else []
        case Kind.UNDRAIN:
            return sorted(now.draining)
        case Kind.RECOVER:
            return sorted(now.failed)


def simulate(
    balancer: Balancer,
    start: Backends,
    changes: Sequence[Change],
    connections: int,
    rng: np.random.Generator,
    *,
    flood: int = 0,
) -> Outcome:
    """Run this many connections through the changes, and on until the last change has settled.

    `flood` is the number of additional SYNs from random sources in each tick.
    """
    clients = _Clients(connections, rng)
    balancer.change(start.configured, start.out, start.surviving, now=0)
    clients.open(balancer, np.arange(connections), now=0)
    broken, most = [], 0
    for tick in range(1, changes[-1].tick + 3 * IDLE_TICKS):
        for change in (change for change in changes if change.tick == tick):
            balancer.change(change.after.configured, change.after.out, change.after.surviving, now=tick)
            clients.lose(change.after.surviving)
        balancer.flood(rng.integers(0, TABLE_SIZE, flood, np.uint32), tick)
        clients.run(balancer, tick)
        balancer.settle(tick)
        broken.append(clients.broken)
        most = max(most, balancer.records)
    return Outcome(np.array(broken), clients.opened, most)


class _Clients:
    """Connections, one per index: when one ends, another begins at its index with a port never used before."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._backend = np.zeros(count, np.uint16)
        self._slot = np.zeros(count, np.uint32)
        self._speaks = np.zeros(count, np.int64)
        self._lost = np.zeros(count, np.bool_)
        self.broken = 0
        self.opened = 0

    def open(self, balancer: Balancer, places: NDArray[np.intp], now: int) -> None:
        """Begin a connection at each of these indexes."""
        number = np.arange(self.opened, self.opened + len(places))
        self.opened += len(places)
        self._slot[places] = slot_of(flow_hash(FIRST_CLIENT + (number >> 15), 32768 + (number & 0x7FFF), PORT))
        self._backend[places] = balancer.syn(Flows(places, self._slot[places]), now)
        self._lost[places] = False
        self._wait(places, now)

    def lose(self, surviving: frozenset[int]) -> None:
        """Mark connections that have lost their backend: they will be replaced, and do not count as broken."""
        self._lost |= ~np.isin(self._backend, list(surviving))

    def run(self, balancer: Balancer, now: int) -> None:
        """Send the packets that are due, and end some connections; replace those that are broken, lost or ended."""
        balancer.forget(np.flatnonzero(self._lost))
        speaking = np.flatnonzero((self._speaks <= now) & ~self._lost)
        heard = balancer.packet(Flows(speaking, self._slot[speaking]), now)
        broken = speaking[heard != self._backend[speaking]]
        self.broken += len(broken)
        self._wait(speaking, now)
        ended = self._lost | (self._rng.random(len(self._lost)) < ENDED_A_TICK)
        ended[broken] = True
        places = np.flatnonzero(ended)
        balancer.forget(places)
        self.open(balancer, places, now)

    def _wait(self, places: NDArray[np.intp], now: int) -> None:
        """Draw when each of these sends its next packet, evenly up to the idle timeout."""
        self._speaks[places] = now + self._rng.integers(1, IDLE_TICKS + 1, len(places))
