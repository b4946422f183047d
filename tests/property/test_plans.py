# SPDX-License-Identifier: Apache-2.0
"""From any state to any other: packets between two steps find something valid, and the second plan is empty."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bound import bound_backend, bound_vip, snapshot
from tests.fakes import next_hop
from xdplb.balance.slots import NOBODY, PINNED, STEADY
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.desired import NO_ACCESS_LIST
from xdplb.control.state.snapshot import Snapshot
from xdplb.model.access import AccessList
from xdplb.model.backend import AdminState, Backend, BackendRole, Health, KnownHealth
from xdplb.model.min_serving import MinServing
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import AllUnhealthy, Forward, OnUnhealthy, Protocol, Scheduler, Tracking, Vip, VipKey

KEYS = [
    *(VipKey(IPv4Address("203.0.113.10"), 80 + n, protocol) for n in range(2) for protocol in Protocol),
    VipKey.parse("203.0.113.0/24:0/tcp"),
    VipKey.parse("[2001:db8::10]:80-90/tcp+udp"),
]
ACCESS = [NO_ACCESS_LIST, AccessList(deny=(ip_network("192.0.2.0/24"),)), AccessList(allow=(ip_network("0.0.0.0/0"),))]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

BACKENDS = st.lists(
    st.tuples(
        st.integers(1, 6),  # the last byte of the address
        st.integers(0, 2),  # epoch
        st.builds(
            lambda w, a, f, r: {"weight": w, "admin_state": a, "forward": f, "role": r},
            st.integers(0, 2),
            st.sampled_from(AdminState),
            st.sampled_from([None, *Forward]),
            st.sampled_from(BackendRole),
        ),
    ),
    max_size=4,
    unique_by=lambda backend: backend[0],
)
POLICIES = st.fixed_dictionaries(
    {
        "all_unhealthy": st.sampled_from(AllUnhealthy),
        "min_serving": st.sampled_from([MinServing(), MinServing(2), MinServing(0, 50)]),
        "panic_share": st.sampled_from([0.0, 0.5, 1.0]),
    }
)
ASKED = st.builds(
    lambda asked, policies: {**asked, **policies},
    st.one_of(
        st.builds(lambda tracking: {"tracking": tracking}, st.sampled_from(Tracking)),
        st.builds(lambda scheduler: {"scheduler": scheduler}, st.sampled_from(Scheduler)),
    ),
    POLICIES,
)
VIPS = st.lists(
    st.tuples(st.sampled_from(KEYS), ASKED, st.sampled_from(OnUnhealthy), BACKENDS, st.sampled_from(ACCESS)),
    max_size=2,
    unique_by=lambda vip: vip[0],
)
HEALTH = st.dictionaries(st.integers(1, 8), st.sampled_from(Health), max_size=8)
LOST = st.sets(st.integers(1, 6), max_size=1)


def state_of(vips) -> Snapshot:
    """Ids are given by position, so that they change hands between states."""
    bound, next_id = {}, 1
    for vip_id, (key, asked_of_vip, on_unhealthy, backends, access) in enumerate(vips):
        by_address = {}
        for last_byte, epoch, asked in backends:
            backend = Backend(IPv4Address(f"10.0.0.{last_byte}"), **asked)
            by_address[backend.address] = bound_backend(next_id, epoch, backend, 1)
            next_id += 1
        vip = Vip(key, **asked_of_vip, on_unhealthy=on_unhealthy)
        bound[key] = bound_vip(vip_id, vip, 1, (), by_address, access=access)
    return snapshot(1, bound)


def observed_of(health, lost) -> Observed:
    addresses = (IPv4Address(f"10.0.0.{last_byte}") for last_byte in range(1, 7) if last_byte not in lost)
    known = {number: KnownHealth(value, "", LONG_AGO) for number, value in health.items()}
    return Observed(known, {address: Resolution(next_hop(address)) for address in addresses})


def check(held: Held) -> None:
    """Every VIP in the index has a table, and it names usable backends of this VIP alone."""
    for vip in held.vips.values():
        for backend_id in held.tables[vip.id].named:
            entry = held.backends[backend_id]
            assert entry.usable
            assert entry.vip_id == vip.id
        assert not vip.has_access_list or (held.access or {})[vip.id]
        owners = held.tables[vip.id].owners.owners
        # A table is emptied before its VIP says that there are no candidates any more: then there is nobody to choose.
        assert NOBODY not in owners[: vip.candidates] or not owners.any()


def same(one: Held, other: Held) -> bool:
    return (
        one.vips == other.vips
        and one.backends == other.backends
        and one.access == other.access
        and one.tables.keys() == other.tables.keys()
        and all(one.tables[vip_id] == other.tables[vip_id] for vip_id in one.tables)
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(VIPS, HEALTH, LOST), min_size=2, max_size=4))
def test_every_step_is_safe_and_planning_again_is_empty(happenings):
    held = Held()
    for vips, health, lost in happenings:
        wanted, seen = state_of(vips), observed_of(health, lost)
        planned = plan(wanted, seen, held)
        again = plan(wanted, seen, held)
        start = held
        for step in planned.steps:
            held = Plan((step,)).after(held)
            check(held)
        held = planned.after(start)
        assert same(held, again.after(start))
        assert plan(wanted, seen, held).steps == ()
        assert plan(wanted, seen, Held(held.vips, held.tables, held.backends, held.access)).steps == ()
        assert held.backends.keys() == {record.id for _, record in wanted.backends()}


@settings(max_examples=20, deadline=None)
@given(VIPS, HEALTH, HEALTH)
def test_health_moves_no_slot_of_a_backend_that_is_not_concerned(vips, health, other):
    wanted = state_of(vips)
    first = plan(wanted, observed_of(health, ()), Held()).after(Held())
    second = plan(wanted, observed_of(other, ()), first)
    after = second.after(first)
    serving = {key for key, entry in first.backends.items() if entry.usable and after.backends[key].usable}
    for vip_id, table in after.tables.items():
        before, owners = first.tables[vip_id].owners.owners, table.owners.owners
        restored = plan(wanted, observed_of(health, ()), after).after(after)
        assert np.array_equal(restored.tables[vip_id].owners.owners, before), "not back bit for bit"
        previous = table.previous.owners
        cut = (before != owners) & np.isin(before, list(serving)) & np.isin(previous, [STEADY, PINNED])
        vip = first.vips[vip_id]
        moves_alone = vip.key.protocol is Protocol.UDP or vip.scheduler.is_per_connection
        assert moves_alone or not cut.any(), "a slot of a backend that stays usable moved without it as previous owner"


@settings(max_examples=30, deadline=None)
@given(VIPS, HEALTH, HEALTH)
def test_a_plan_of_one_vip_is_the_part_of_it_of_the_plan_of_all(vips, health, other):
    wanted = state_of(vips)
    first = plan(wanted, observed_of(health, ()), Held()).after(Held())
    whole = plan(wanted, observed_of(other, ()), first).after(first)
    held = first
    for vip in wanted.vips.values():
        held = plan(wanted, observed_of(other, ()), held, {vip.id}).after(held)
    assert same(held, whole)
