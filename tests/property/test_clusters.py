# SPDX-License-Identifier: Apache-2.0
"""No connection of a backend that lives breaks, whichever balancer its packets come to, and whichever is lost."""

from __future__ import annotations

import random

import pytest

from tests.property.cluster import IDLE_SECONDS, Cluster, backend_of
from xdplb.model.admin_state import AdminState

BALANCERS = 3
BACKENDS = 6


def do_something(chance: random.Random, cluster: Cluster) -> None:
    """Let one thing happen, of all that may."""
    kind = chance.random()
    if kind < 0.45:
        cluster.open(chance.randrange(BALANCERS))
    elif kind < 0.52:
        cluster.close(chance.randrange(1000))
    elif kind < 0.66:
        cluster.reroute(chance.randrange(1000), chance.randrange(BALANCERS))
    elif kind < 0.72:
        cluster.reroute_all(chance.randrange(BALANCERS))
    elif kind < 0.82:
        cluster.wait(chance.choice([0.5, 2, 13, 29, 31, IDLE_SECONDS, 3 * IDLE_SECONDS]))
    elif kind < 0.86:
        cluster.lose(chance.randrange(BALANCERS))
    elif kind < 0.9:
        cluster.start(chance.randrange(BALANCERS), chance)
    elif kind < 0.93:
        cluster.flap(chance.randrange(BALANCERS), chance.randrange(BACKENDS), chance)
    else:
        change_something(chance, cluster)


def change_something(chance: random.Random, cluster: Cluster) -> None:
    backends, failed = dict(cluster.wanted.backends), set(cluster.wanted.failed)
    number = chance.randrange(BACKENDS)
    kind = chance.choice(["drain", "weight", "ready", "ready", "fail", "recover", "remove"])
    late = chance.choice([None, None, *sorted(cluster.nodes)])
    if kind == "drain":
        backends[number] = backend_of(number, state=AdminState.DRAIN)
    elif kind == "weight":
        backends[number] = backend_of(number, chance.choice([1, 2, 5]))
    elif kind == "ready":
        backends[number] = backend_of(number)
    elif kind == "fail" and len(failed) < 2:
        failed.add(number)
        late = None  # until all know, their clients are the dead backend's
    elif kind == "recover":
        failed.discard(number)
    elif kind == "remove" and len(backends) > 3:
        backends.pop(number, None)
        late = None
    cluster.change(backends, frozenset(failed), late=late)
    if late is not None:
        for _ in range(chance.randrange(6)):
            chance.choice([cluster.open, lambda node: cluster.reroute(chance.randrange(1000), node)])(
                chance.randrange(BALANCERS)
            )
        cluster.wait(chance.choice([0.1, 5, 25]))
        cluster.catch_up()


def ran(seed: int, steps: int, *, syncs: bool) -> Cluster:
    chance = random.Random(seed)
    cluster = Cluster(BALANCERS, syncs=syncs)
    cluster.change({number: backend_of(number) for number in range(BACKENDS - 1)})
    for _ in range(steps):
        do_something(chance, cluster)
    cluster.reroute_all(1)
    return cluster


@pytest.mark.parametrize("seed", range(6))
def test_balancers_that_tell_each_other_break_no_connection(seed: int) -> None:
    assert ran(seed, 150, syncs=True).broken == []


def test_balancers_that_do_not_break_some() -> None:
    assert any(ran(seed, 150, syncs=False).broken for seed in range(3))
