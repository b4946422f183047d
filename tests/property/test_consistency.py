# SPDX-License-Identifier: Apache-2.0
"""The simulation of `scripts/bench consistency`, smaller: changes break no connection of a backend that survives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.balancers import Balancer, Maglev, RecordingMaglev, Xdplb
from tests.bench.consistency import IDLE_TICKS, Outcome, sequence, simulate

CONNECTIONS = 20_000
SEEDS = range(4)


def simulated(balancer: Balancer, seed: int, *, flood: int = 0) -> Outcome:
    start, changes = sequence(30, 12, np.random.default_rng(seed))
    return simulate(balancer, start, changes, CONNECTIONS, np.random.default_rng(seed), flood=flood)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("always", [False, True], ids=["auto", "always"])
def test_random_changes_break_no_connection_of_a_surviving_backend(always: bool, seed: int) -> None:
    outcome = simulated(Xdplb(CONNECTIONS, CONNECTIONS, IDLE_TICKS, always=always), seed)
    assert outcome.opened > 2 * CONNECTIONS
    assert outcome.broken[-1] == 0


@pytest.mark.parametrize("always", [False, True], ids=["auto", "always"])
def test_a_syn_flood_during_them_breaks_none_either(always: bool) -> None:
    balancer = Xdplb(CONNECTIONS, 2 * CONNECTIONS, IDLE_TICKS, always=always)
    assert simulated(balancer, 0, flood=CONNECTIONS // 2).broken[-1] == 0


def test_auto_records_a_part_of_what_always_records() -> None:
    auto, always = (simulated(Xdplb(CONNECTIONS, CONNECTIONS, IDLE_TICKS, always=how), 0) for how in (False, True))
    assert auto.most_records < always.most_records == CONNECTIONS


@pytest.mark.parametrize(
    ("balancer", "flood"),
    [
        (Maglev(), 0),
        (RecordingMaglev(CONNECTIONS, CONNECTIONS // 2), 0),
        (RecordingMaglev(CONNECTIONS, 2 * CONNECTIONS), CONNECTIONS // 2),
    ],
    ids=["no flow table", "half a flow table", "a flow table flooded"],
)
def test_the_simulation_sees_what_plain_maglev_breaks(balancer: Balancer, flood: int) -> None:
    assert simulated(balancer, 0, flood=flood).broken[-1] > CONNECTIONS // 10
