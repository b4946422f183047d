# SPDX-License-Identifier: Apache-2.0
"""When a backend's handshakes stop being answered, and when that says nothing about it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.fakes import FakeClock
from xdplb.control.health.passive.ejections import Ejections, room
from xdplb.control.health.passive.rule import (
    EJECT_BELOW,
    SUSPECT_BELOW,
    Finding,
    Sample,
    judge,
    overdue_seconds,
    unanswered_sentence,
)
from xdplb.control.health.passive.shares import ALL, share_of
from xdplb.control.health.passive.sources import ProvenSources
from xdplb.control.health.passive.totals import Totals
from xdplb.dataplane import layout

OVERDUE = 0.2


@dataclass
class Traffic:
    """Handshakes of one VIP as a test makes them: backend, source, when, and whether it is answered."""

    rows: list[tuple[int, int, float, bool]] = field(default_factory=list)

    def add(self, backend: int, began: float, *, answered: bool = True, source: int = 0) -> None:
        self.rows.append((backend, source or 1000 + len(self.rows) % 50, began, answered))

    def judged(self, now: float, ejected: frozenset[int] = frozenset()) -> dict[int, Finding]:
        columns = list(zip(*[row for row in self.rows if row[2] <= now], strict=True)) or [(), (), (), ()]
        sample = Sample(
            np.array(columns[0], np.int64),
            np.array(columns[1], np.uint64),
            np.array(columns[2], np.float64),
            np.array(columns[3], np.bool_),
        )
        return judge(sample, now, OVERDUE, ejected)


def at_a_rate(
    rate: float, *, backends: int = 3, dead: int = 1, died: float = 5.0, seconds: float = 8.0, source: int = 0
) -> Traffic:
    """Return connections to backends 1 to `backends` at random; `dead` answers none that begins after it died."""
    chance, traffic, now = random.Random(1), Traffic(), 0.0
    while now < seconds:
        now += chance.expovariate(rate)
        backend = chance.randint(1, backends)
        traffic.add(backend, now, answered=backend != dead or now < died, source=source)
    return traffic


def first_found(traffic: Traffic, below: float, *, backend: int = 1, since: float = 5.0) -> float:
    """Return how many seconds after a backend died something with a chance below this was found, looking often."""
    for look in range(60):
        now = since + look / 10
        found = traffic.judged(now)
        assert found.keys() <= {backend}
        if backend in found and found[backend].chance < below:
            return now - since
    return np.inf


@pytest.mark.parametrize("backends", [2, 3, 10])
def test_a_dead_backend_is_found_within_a_second_at_a_hundred_connections_a_second(backends: int) -> None:
    seconds = first_found(at_a_rate(100.0 if backends < 10 else 300.0, backends=backends), EJECT_BELOW)
    assert OVERDUE < seconds < 0.9


def test_it_is_suspected_before_it_is_ejected() -> None:
    traffic = at_a_rate(100)
    assert first_found(traffic, SUSPECT_BELOW) < first_found(traffic, EJECT_BELOW)


def test_one_client_alone_is_enough_where_there_is_no_other() -> None:
    assert first_found(at_a_rate(100, source=7), EJECT_BELOW) < 0.9


def test_few_connections_take_longer() -> None:
    assert first_found(at_a_rate(10, seconds=20), EJECT_BELOW) < 6


def test_what_is_found_is_told_in_words() -> None:
    found = at_a_rate(100).judged(6.0)[1]
    assert unanswered_sentence(found).startswith(f"{found.unanswered} of {found.handshakes} handshakes unanswered in ")
    assert unanswered_sentence(found).endswith(" s; peers answer 100 %")


def test_all_well_finds_nothing() -> None:
    traffic = at_a_rate(300, dead=0)
    assert all(not traffic.judged(now / 10) for now in range(80))


def test_a_loss_that_all_have_finds_nothing() -> None:
    """A quarter of all SYNs gets lost: that is the network's fault, not a backend's."""
    chance, traffic = random.Random(2), Traffic()
    for number in range(3000):
        traffic.add(chance.randint(1, 5), number / 300, answered=chance.random() > 0.25)
    found = [found for now in range(100) for found in traffic.judged(now / 10).values()]
    assert not [one for one in found if one.chance < EJECT_BELOW]


def test_clients_that_all_vanish_at_once_find_nothing() -> None:
    traffic = Traffic()
    for number in range(1000):
        traffic.add(1 + number % 3, number / 100, answered=number < 500)
    assert all(not traffic.judged(now / 10) for now in range(100))


def test_a_source_that_leaves_much_unanswered_does_not_eject_where_there_are_others() -> None:
    """One client that completes handshakes elsewhere, and opens hundreds at one backend without going on."""
    traffic = Traffic()
    for number in range(600):
        traffic.add(1 + number % 3, number / 100)
        traffic.add(1, number / 100 + 0.001, answered=False, source=9)
    found = [found for now in range(60) for found in traffic.judged(now / 10).values()]
    assert not [one for one in found if one.chance < EJECT_BELOW]


def test_a_slow_backend_is_not_dead() -> None:
    """It answers after 150 ms, which is not due yet."""
    traffic = Traffic()
    for number in range(600):
        traffic.add(1 + number % 3, number / 100, answered=number % 3 != 0 or number / 100 < 5.85)
    assert not traffic.judged(6.0)


def test_a_backend_without_peers_is_not_judged() -> None:
    assert not at_a_rate(100, backends=1).judged(7.0)


def test_one_of_two_that_die_is_found_and_then_the_other() -> None:
    traffic = Traffic()
    for number in range(1600):
        traffic.add(1 + number % 4, number / 200, answered=number % 4 > 1 or number < 800)
    found = {number for number, one in traffic.judged(5.2).items() if one.chance < EJECT_BELOW}
    assert found == {1, 2}
    assert 2 in traffic.judged(5.2, frozenset({1}))


def test_a_backend_that_never_answered_is_found() -> None:
    assert first_found(at_a_rate(100, died=-1.0), EJECT_BELOW, since=0.5) < 2


def test_in_thousands_of_looks_at_backends_that_are_well_none_is_ejected() -> None:
    """Each handshake goes unanswered with a probability of one in fifty, and looks share nothing with each other."""
    chance = np.random.default_rng(3)
    for _ in range(400):
        count = 600
        sample = Sample(
            chance.integers(1, 6, count),
            chance.integers(1, 500, count).astype(np.uint64),
            np.sort(chance.uniform(0.0, 2.0, count)),
            chance.random(count) > 0.02,
        )
        assert all(found.chance >= EJECT_BELOW for found in judge(sample, 2.2, OVERDUE, frozenset()).values())


@pytest.mark.parametrize(("p99", "seconds"), [(None, 0.5), (0.001, 0.2), (0.06, 0.24), (3.0, 0.5)])
def test_a_handshake_is_due_after_four_times_what_clients_need(p99: float | None, seconds: float) -> None:
    assert overdue_seconds(p99) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("serving", "ejected", "more"), [(1, 0, 0), (2, 0, 1), (1, 1, 0), (3, 0, 1), (2, 1, 0), (10, 0, 5), (6, 4, 1)]
)
def test_no_more_than_half_are_ejected_and_never_the_last(serving: int, ejected: int, more: int) -> None:
    assert room(serving, ejected) == more


def test_ejections_grow_and_shrink_again() -> None:
    clock = FakeClock()
    ejections = Ejections(clock.monotonic, clock.steady().now)
    lengths = []
    for _ in range(12):
        made = ejections.begin(1, 0, 0, "why")
        lengths.append(made.seconds)
        clock.seconds += made.seconds
        assert [one.backend for one in ejections.over()] == [1]
        ejections.end([1])
    assert lengths[:3] == [30, 60, 90]
    assert max(lengths) == 300
    clock.seconds += 11 * 60
    assert ejections.begin(1, 0, 0, "why").seconds == 60
    assert ejections.begin(1, 0, 1, "another has the id").seconds == 30


def test_few_connections_are_all_sampled_and_of_many_enough() -> None:
    assert share_of(100, 10_000, 1, ALL) == ALL
    assert share_of(100_000, 1_000_000, 1, ALL) == ALL // 100
    assert share_of(10, 40_000_000, 1, ALL) == ALL // 100  # few long ones: each packet would cost
    assert share_of(0, 0, 1, 1000) == 2000  # slowly up again


def test_only_sources_that_have_answered_are_proven() -> None:
    proven = ProvenSources(most=3)
    numbers = np.array([1, 2, 3, 4], np.uint64)
    vips = np.zeros(4, np.uint16)
    proven.note(vips[:3], numbers[:3], 0.0)
    assert proven.among(vips, numbers, 1.0).tolist() == [True, True, True, False]
    assert not proven.among(vips + 1, numbers, 1.0).any()  # of another VIP
    assert not proven.among(vips, numbers, 700.0).any()  # long ago
    proven.note(vips[3:], numbers[3:], 2.0)
    assert len(proven) == 3
    proven.forget([0])
    assert len(proven) == 0


def counted(begun: int, bucket: int, unanswered: int = 0) -> np.ndarray:
    row = np.zeros(1, layout.HANDSHAKE_COUNTERS)
    row["begun"], row["answered"] = begun, begun - unanswered
    row["latency"][0, bucket] = begun - unanswered
    return row


def test_latencies_of_the_last_minutes_and_who_differs() -> None:
    totals = Totals()
    keys = ((1, 0), (2, 0), (3, 0))
    totals.note(keys, np.concatenate([counted(0, 4)] * 3), 0.0)
    totals.note(keys, np.concatenate([counted(500, 4), counted(500, 4), counted(500, 6)]), 1.0)
    usual, slow = totals.latency(1), totals.latency(3)
    assert usual is not None
    assert slow is not None
    assert 0.0005 < usual.p50 < usual.p99 < 0.00105 < slow.p50
    assert totals.differing().keys() == {3}
    assert totals.differing()[3].startswith("half of its handshakes take more than ")


def test_a_backend_that_leaves_more_unanswered_differs() -> None:
    totals = Totals()
    keys = ((1, 0), (2, 0))
    totals.note(keys, np.concatenate([counted(0, 4)] * 2), 0.0)
    totals.note(keys, np.concatenate([counted(500, 4), counted(500, 4, unanswered=50)]), 1.0)
    assert totals.differing() == {2: "10 % of its handshakes go unanswered, 0 % of those of its peers"}


def test_counters_that_begin_anew_are_no_handshakes() -> None:
    totals = Totals()
    totals.note(((1, 0),), counted(500, 4), 0.0)
    totals.note(((1, 1),), counted(3, 4), 1.0)
    latency = totals.latency(1)
    assert latency is not None
    assert totals.p99() == pytest.approx(latency.p99)
