# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench consistency`: what changes of backends break with xdplb and with plain Maglev; tables and a plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.bench.balancers import Balancer, Maglev, RecordingMaglev, Xdplb
from tests.bench.consistency import IDLE_TICKS, PORT, Backends, Change, Kind, Outcome, sequence, simulate
from tests.bench.plot import Line, line_chart
from tests.bench.tables import print_table
from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.table import build

__all__ = ["report_consistency"]

BACKENDS = 100
ONE = 7
"""The backend that something happens to in `_single_changes`."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A balancer, the number of flood SYNs per tick, and whether the plot shows it."""

    name: str
    make: Callable[[], Balancer]
    flood: int = 0
    plotted: bool = False


def report_consistency(*, connections: int, changes: int, seed: int, svg: Path | None) -> None:
    """Simulate and print the tables; write the plot to `svg`, if given."""
    print_table(
        ("one change, 100 backends", "of the others", "of the backend itself"),
        [(kind, f"{others:.2%}", own) for kind, others, own in _single_changes(connections)],
    )
    start, happenings = sequence(changes, BACKENDS, np.random.default_rng(seed))
    cases = list(_cases(connections))
    outcomes = [
        simulate(case.make(), start, happenings, connections, np.random.default_rng(seed), flood=case.flood)
        for case in cases
    ]
    rows = [
        (case.name, f"{outcome.broken[-1]:,}", f"{outcome.broken[-1] / connections:.1%}", f"{outcome.most_records:,}")
        for case, outcome in zip(cases, outcomes, strict=True)
    ]
    together = sum(change.tick - before.tick <= IDLE_TICKS for before, change in pairwise(happenings))
    print(f"{connections:,} open connections, {outcomes[0].opened:,} in total; {changes} changes, of which")
    print(f"{together} came within the settling time of the one before; seed {seed}\n")
    print_table(("connections of surviving backends", "broken", "of open ones", "most records"), rows)
    if svg is not None:
        svg.write_text(_plot(cases, outcomes, happenings))


def _cases(connections: int) -> Iterator[_Case]:
    half, twice, flood = connections // 2, connections * 2, connections // 2

    def xdplb(room: int, *, always: bool) -> Callable[[], Balancer]:
        return lambda: Xdplb(connections, room, IDLE_TICKS, always=always)

    yield _Case("Maglev without a flow table", Maglev, plotted=True)
    yield _Case("Maglev, a record for each", partial(RecordingMaglev, connections, connections))
    yield _Case("Maglev, room for half of them", partial(RecordingMaglev, connections, half), plotted=True)
    yield _Case(
        "Maglev, room for twice as many, SYN flood", lambda: RecordingMaglev(connections, twice), flood, plotted=True
    )
    yield _Case("xdplb auto", xdplb(connections, always=False), plotted=True)
    yield _Case("xdplb auto, room for half of them", xdplb(half, always=False))
    yield _Case("xdplb auto, room for twice as many, SYN flood", xdplb(twice, always=False), flood)
    yield _Case("xdplb always", xdplb(connections, always=True), plotted=True)
    yield _Case("xdplb always, room for twice as many, SYN flood", xdplb(twice, always=True), flood)


def _single_changes(connections: int) -> Iterator[tuple[str, float, str]]:
    """Yield the fraction of connections that one change breaks on plain Maglev without a flow table."""
    number = np.arange(connections)
    slots = slot_of(flow_hash(0x0A000000 + (number >> 15), 32768 + (number & 0x7FFF), PORT))
    plain = Backends(dict.fromkeys(range(1, BACKENDS + 1), 1))
    drained, failed = plain.changed(Kind.DRAIN, ONE, 1), plain.changed(Kind.FAIL, ONE, 1)
    for name, before, kind, id_, weight in (
        ("drain", plain, Kind.DRAIN, ONE, 1),
        ("undrain", drained, Kind.UNDRAIN, ONE, 1),
        ("fail", plain, Kind.FAIL, ONE, 1),
        ("recover", failed, Kind.RECOVER, ONE, 1),
        ("add", plain, Kind.ADD, BACKENDS + 1, 1),
        ("reweigh from 1 to 2", plain, Kind.REWEIGH, ONE, 2),
        ("reweigh from 1 to 4", plain, Kind.REWEIGH, ONE, 4),
    ):
        after = before.changed(kind, id_, weight)
        old, new = _owners(before, slots), _owners(after, slots)
        mine = old == id_
        own = f"{np.mean(new[mine] != id_):.0%}" if id_ in after.surviving and mine.any() else "-"
        yield name, float(np.mean(new[~mine] != old[~mine])), own


def _owners(backends: Backends, slots: np.ndarray) -> np.ndarray:
    serving = [backend for backend in backends.configured if backend.id not in backends.out]
    return build(serving, frozenset())[slots]


def _plot(cases: list[_Case], outcomes: list[Outcome], changes: list[Change]) -> str:
    lines = [
        Line(f"{case.name}: {outcome.broken[-1]:,}", [0, *outcome.broken.tolist()])
        for case, outcome in zip(cases, outcomes, strict=True)
        if case.plotted
    ]
    return line_chart(
        "Connections of surviving backends broken",
        ("time; a mark is a change of the backends", "connections, so far"),
        lines,
        marks=[change.tick for change in changes],
    )
