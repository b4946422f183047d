# SPDX-License-Identifier: Apache-2.0
"""Whatever operators and checks do, in whatever order and however soon: connections stay where they are."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.property.balancer import IDLE_SECONDS, KEY, KEY6, Balancer
from xdplb.model.backend import AdminState, Health
from xdplb.model.vip import AllUnhealthy, OnUnhealthy, Scheduler, Tracking, Vip

CLIENTS = 160
NUMBERS = st.integers(0, 4)
WEIGHTS = st.integers(0, 2)

GENTLE_CHANGES = st.one_of(
    st.tuples(st.just(Balancer.add), NUMBERS, WEIGHTS),
    st.tuples(st.just(Balancer.administer), NUMBERS, st.sampled_from([AdminState.READY, AdminState.DRAIN])),
    st.tuples(st.just(Balancer.weigh), NUMBERS, WEIGHTS),
)
HARSH_CHANGES = st.one_of(
    st.tuples(st.just(Balancer.remove), NUMBERS),
    st.tuples(st.just(Balancer.replace), NUMBERS, NUMBERS),
    st.tuples(st.just(Balancer.administer), NUMBERS, st.just(AdminState.MAINT)),
    st.tuples(st.just(Balancer.find), NUMBERS, st.sampled_from(Health)),
    st.tuples(st.just(Balancer.lose_next_hop), NUMBERS),
    st.tuples(st.just(Balancer.track), st.sampled_from(Tracking)),
    st.tuples(st.just(Balancer.schedule), st.sampled_from(sorted(set(Scheduler) - {Scheduler.SH}))),
    st.tuples(st.just(Balancer.restart)),
)
TIME_AND_CLIENTS = st.one_of(
    st.tuples(st.just(Balancer.wait), st.sampled_from([0.3, 1.0, 20.0, 40.0, IDLE_SECONDS - 0.5, IDLE_SECONDS])),
    st.tuples(st.just(Balancer.talk)),
    st.tuples(st.just(Balancer.open), st.integers(0, CLIENTS - 1)),
    st.tuples(st.just(Balancer.close), st.integers(0, CLIENTS - 1)),
    st.tuples(st.just(Balancer.dial_again), st.integers(0, CLIENTS - 1)),
)


@pytest.mark.parametrize("key", [KEY, KEY6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("scheduler", [None, *Scheduler], ids=lambda scheduler: scheduler or "tracking")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # making a failure smaller takes minutes
)
@given(
    tracking=st.sampled_from(Tracking),
    on_unhealthy=st.sampled_from(OnUnhealthy),
    all_unhealthy=st.sampled_from(AllUnhealthy),
    happenings=st.lists(GENTLE_CHANGES | HARSH_CHANGES | TIME_AND_CLIENTS, min_size=5, max_size=25),
)
def test_no_connection_of_a_surviving_backend_changes_backend(
    key, scheduler, tracking, *, on_unhealthy, all_unhealthy, happenings
):
    chosen = {"tracking": tracking} if scheduler is None else {"scheduler": scheduler}
    vip = Vip(key, **chosen, on_unhealthy=on_unhealthy, all_unhealthy=all_unhealthy)
    balancer = Balancer(vip, CLIENTS)
    for number in range(3):
        balancer.add(number, 1)
    for client in range(CLIENTS - 20):
        balancer.open(client)
    for what, *how in happenings:
        what(balancer, *how)
    balancer.wait(1.0)
    assert balancer.owners_are_the_tables()
    _everything_settles(balancer)


def _everything_settles(balancer: Balancer) -> None:
    for client in range(CLIENTS):
        balancer.close(client)
    for _ in range(3):
        balancer.wait(IDLE_SECONDS + 2.0)
    assert (balancer.counts().moving, balancer.counts().pinned) == (0, 0)
    assert balancer.vip.vip.tracks_always or not balancer.path.records(), "records are left in steady slots"


def test_changes_within_one_settling_time_keep_the_connections_from_before_the_first():
    """Also of clients that stay silent through all of them, and only speak when the time is up."""
    balancer = Balancer(Vip(KEY), CLIENTS)
    for number in range(3):
        balancer.add(number, 1)
    balancer.wait(2 * IDLE_SECONDS + 1)
    for client in range(CLIENTS):
        balancer.open(client)
    balancer.administer(0, AdminState.DRAIN)
    balancer.wait(IDLE_SECONDS / 3)
    balancer.administer(1, AdminState.DRAIN)
    balancer.administer(0, AdminState.READY)
    balancer.wait(IDLE_SECONDS / 3)
    balancer.add(3, 2)
    balancer.administer(0, AdminState.DRAIN)
    balancer.wait(IDLE_SECONDS / 3)
    balancer.talk()
    for _ in range(4):
        balancer.wait(IDLE_SECONDS)
    assert len(balancer.connections) == CLIENTS
    assert balancer.counts().pinned > 0, "connections differ from the owners of their slots"


def test_a_connection_that_speaks_twice_in_a_second_is_bridged_as_long_as_any():
    """The record says when the first of the two packets came, since it is not touched twice in a second."""
    balancer = Balancer(Vip(KEY), CLIENTS)
    balancer.add(0, 1)
    for client in range(CLIENTS):
        balancer.open(client)
    balancer.add(1, 1)
    balancer.talk()
    balancer.wait(IDLE_SECONDS)
    balancer.talk()
    balancer.wait(0.5)
    balancer.talk()
    balancer.wait(IDLE_SECONDS)
    balancer.talk()
