# SPDX-License-Identifier: Apache-2.0
"""Two simulations from the literature, with xdplb's own tables in the place of the balancers compared there.

Both have 468 servers that go away for a while and come back. Cheetah (Barbette et al., NSDI'20) has 70,000 connections
and 1.56 to 78 updates a minute; JET (Mendelson et al., CoNEXT 2021) has 100,000 (4.69 million in 1000 s), 10 updates a
minute and room for 25,000 records. How long connections last (those of a Hadoop cluster at Facebook) and servers are
away (those of upgrades, from SilkRoad, SIGCOMM'17) are the distributions that JET's authors publish as Cheetah's
(github.com/anchorhash/jetlb, simulations/event-driven/hadoop/data).

What is not as there: time goes in ticks, in each of which every open connection sends a packet (there, when a server
comes or goes, those that are drawn); a server that comes back is the same one; an update is a server that goes, and it
comes back some time later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.bench.balancers import Balancer, Flows, Ids, Maglev, RecordingMaglev, Xdplb
from tests.bench.tables import print_table
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.table import WeightedBackend

__all__ = ["report_literature"]

SERVERS = 468
TICK_SECONDS = 0.5
IDLE_TICKS = 120
"""xdplb's idle timeout, of a minute: no connection is silent for longer than a tick."""

DURATIONS = (
    (0.2933579336, 0.001), (0.3782287823, 0.002001660865), (0.405904059, 0.002989009054),
    (0.4520295203, 0.008934175126), (0.4760147601, 0.02549699459), (0.5018450185, 0.3100950157),
    (0.5479704797, 10.27643336), (0.7601476015, 10.43614193), (0.8985239852, 22.91478965),
    (0.9280442804, 36.39509637), (0.9483394834, 100.7122436), (0.9575645756, 214.4188863),
    (0.9981549815, 228.0621963), (1.0, 602.5595861),
)  # fmt: skip
"""Of connections: which share is over within so many seconds."""

DOWNTIMES = (
    (0.006833712984, 60.0), (0.04328018223, 120.8016369), (0.2150341686, 130.7333965), (0.3867881549, 141.4817002),
    (0.5585421412, 153.1136803), (0.7302961276, 165.7019888), (0.9020501139, 179.3252506), (0.9658314351, 304.8130828),
    (0.9817767654, 671.6930555), (0.9977220957, 20533.59424), (1.0, 567076.2339),
)  # fmt: skip
"""Of servers: the same, of how long they are away."""


class Daisy(Maglev):
    """Daisy-chaining, as Beamer does (Olteanu et al., NSDI'18): a slot has a previous owner, too.

    The owner sends what it does not know on to that one. What was opened before the last two changes is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._previous = self._owners.copy()

    def change(
        self, configured: Sequence[WeightedBackend], out: AbstractSet[int], surviving: AbstractSet[int], now: int
    ) -> None:
        """Rebuild the table; each slot that gets another owner remembers the one before."""
        before = self._owners
        super().change(configured, out, surviving, now)
        changed = before != self._owners
        self._previous = np.where(changed, before, self._previous)

    def reaches(self, slots: NDArray[np.uint32], backends: Ids) -> NDArray[np.bool_]:
        """Return which connections still reach their backend: it owns the slot, or owned it before."""
        found: NDArray[np.bool_] = (self._owners[slots] == backends) | (self._previous[slots] == backends)
        return found


@dataclass(frozen=True, slots=True)
class Happenings:
    """What happens to servers: at which tick, to which one, and whether it comes back then or goes."""

    ticks: NDArray[np.int64]
    servers: NDArray[np.int64]
    comes: NDArray[np.bool_]


@dataclass(slots=True)
class Result:
    """Of a balancer: how many connections there were and how many broke, and the most records and open connections."""

    opened: int = 0
    broken: int = 0
    records: int = 0


def report_literature(*, seconds: float, seed: int) -> None:
    """Simulate and print both."""
    rows = []
    for rate in (1.56, 10.0, 39.0, 78.0):
        for name, make in _cheetah(70_000):
            rows.append((f"{rate:g}", name, *_row(_run(make, 70_000, rate, seconds, seed))))
    print_table(("Cheetah: updates a minute", "balancer", "opened", "broken", "of all", "most records"), rows)
    rows = []
    for name, make in _jet(100_000, 25_000):
        rows.append(("10", name, *_row(_run(make, 100_000, 10.0, 1000.0, seed))))
    print_table(("JET: updates a minute", "balancer", "opened", "broken", "of all", "most records"), rows)


def _cheetah(open_ones: int) -> Iterator[tuple[str, Callable[[int], Balancer]]]:
    yield "hashing alone", lambda _: Maglev()
    yield "daisy-chaining", lambda _: Daisy()
    yield "xdplb", lambda room: Xdplb(room, 2 * open_ones, IDLE_TICKS, always=False)


def _jet(open_ones: int, records: int) -> Iterator[tuple[str, Callable[[int], Balancer]]]:
    yield "all recorded, room for 25,000", lambda room: RecordingMaglev(room, records)
    yield "xdplb, room for 25,000", lambda room: Xdplb(room, records, IDLE_TICKS, always=False)
    yield "xdplb, room for all", lambda room: Xdplb(room, 2 * open_ones, IDLE_TICKS, always=False)


def _row(result: Result) -> tuple[str, ...]:
    return f"{result.opened:,}", f"{result.broken:,}", f"{result.broken / result.opened:.4%}", f"{result.records:,}"


def _run(make: Callable[[int], Balancer], open_ones: int, rate: float, seconds: float, seed: int) -> Result:
    rng = np.random.default_rng(seed)
    ticks = round(seconds / TICK_SECONDS)
    happenings = _happenings(rate, ticks, rng)
    per_tick = open_ones / _mean(DURATIONS) * TICK_SECONDS
    room = round(open_ones * 1.5)
    balancer = make(room)
    clients = _Clients(room, rng)
    names = [WeightedBackend(f"10.1.{number >> 8}.{number & 255}", number + 1, 1) for number in range(SERVERS)]
    out: set[int] = set()
    balancer.change(names, frozenset(), frozenset(range(1, SERVERS + 1)), 0)
    clients.open(balancer, open_ones, 0, steady=True)
    for tick in range(1, ticks):
        first, last = np.searchsorted(happenings.ticks, [tick, tick + 1])
        for place in range(first, last):
            server = int(happenings.servers[place]) + 1
            (out.discard if happenings.comes[place] else out.add)(server)
            surviving = frozenset(range(1, SERVERS + 1)) - out
            balancer.change(names, frozenset(out), surviving, tick)
            clients.lose(balancer, server, happenings.comes[place])
        clients.run(balancer, tick)
        clients.open(balancer, int(rng.poisson(per_tick)), tick)
        balancer.settle(tick)
        clients.result.records = max(clients.result.records, balancer.records)
    return clients.result


class _Clients:
    """Connections, one per index."""

    def __init__(self, room: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._backend = np.zeros(room, np.uint16)
        self._slot = np.zeros(room, np.uint32)
        self._ends = np.zeros(room, np.int64)
        self.result = Result()

    def open(self, balancer: Balancer, count: int, now: int, *, steady: bool = False) -> None:
        """Open connections; with `steady`, those that are open at any time, which last longer than most."""
        places = np.flatnonzero(self._backend == 0)[:count]
        number = np.arange(self.result.opened, self.result.opened + len(places))
        self.result.opened += len(places)
        drawn = _drawn(DURATIONS, 40 * count if steady else len(places), self._rng)
        if steady:  # one that lasts twice as long is open twice as often; of its time, any part is over
            drawn = self._rng.choice(drawn, len(places), p=drawn / drawn.sum()) * self._rng.random(len(places))
        self._slot[places] = slot_of(flow_hash(0x0A000000 + (number >> 15), 32768 + (number & 0x7FFF), 443))
        self._backend[places] = balancer.syn(Flows(places, self._slot[places]), now)
        self._ends[places] = now + np.ceil(drawn / TICK_SECONDS).astype(np.int64)

    def lose(self, balancer: Balancer, server: int, comes: np.bool_) -> None:
        """Forget the connections of a server that goes."""
        if not comes:
            self._end(balancer, np.flatnonzero(self._backend == server))

    def run(self, balancer: Balancer, now: int) -> None:
        """Let each open connection send a packet; those that are over end."""
        self._end(balancer, np.flatnonzero((self._backend != 0) & (self._ends <= now)))
        places = np.flatnonzero(self._backend)
        if isinstance(balancer, Daisy):
            broken = places[~balancer.reaches(self._slot[places], self._backend[places])]
        else:
            heard = balancer.packet(Flows(places, self._slot[places]), now)
            broken = places[heard != self._backend[places]]
        self.result.broken += len(broken)
        self._end(balancer, broken)

    def _end(self, balancer: Balancer, places: NDArray[np.intp]) -> None:
        balancer.forget(places)
        self._backend[places] = 0


def _happenings(rate: float, ticks: int, rng: np.random.Generator) -> Happenings:
    """Draw what happens: a server that is there goes at times of a Poisson process, and is away for a time drawn."""
    times, servers, comes = [], [], []
    back = np.zeros(SERVERS)
    now = float(rng.exponential(60 / rate))
    while now < ticks * TICK_SECONDS:
        there = np.flatnonzero(back <= now)
        server = int(rng.choice(there))
        away = float(_drawn(DOWNTIMES, 1, rng)[0])
        times += [now, now + away]
        servers += [server, server]
        comes += [False, True]
        back[server] = now + away
        now += float(rng.exponential(60 / rate))
    order = np.argsort(times, kind="stable")
    at = np.ceil(np.array(times) / TICK_SECONDS).astype(np.int64)
    return Happenings(at[order], np.array(servers)[order], np.array(comes)[order])


def _drawn(steps: Sequence[tuple[float, float]], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    shares, values = np.array(steps).T
    drawn: NDArray[np.float64] = values[
        np.searchsorted(shares, rng.random(count), side="right").clip(max=len(values) - 1)
    ]
    return drawn


def _mean(steps: Sequence[tuple[float, float]]) -> float:
    shares, values = np.array(steps).T
    return float((np.diff(shares, prepend=0) * values).sum())
