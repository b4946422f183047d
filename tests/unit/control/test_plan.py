# SPDX-License-Identifier: Apache-2.0
"""What a plan does, in which order, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network

import numpy as np
import pytest

from tests.bound import bound_backend, bound_vip, snapshot
from tests.fakes import next_hop
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import pack, unpack
from xdplb.control.plan.eligibility import Observed, Use, assess
from xdplb.control.plan.forecast import Present, forecast
from xdplb.control.plan.plan import Plan, plan
from xdplb.control.plan.sentences import sentences
from xdplb.control.plan.steps import (
    ClearBackends,
    DeleteTable,
    Held,
    StartVips,
    WriteBackends,
    WriteTable,
    WriteVips,
)
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import AllUnhealthy, Forward, OnUnhealthy, Tracking, Vip, VipKey

KEY = VipKey.parse("203.0.113.10:80/tcp")
ONE, TWO, THREE = (IPv4Address(f"10.0.0.{number}") for number in (1, 2, 3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def backend(backend_id: int, address: IPAddress, epoch: int = 0, **asked: object) -> BoundBackend:
    return bound_backend(backend_id, epoch, Backend(address, **asked), 1)  # type: ignore[arg-type]


def vip(*backends: BoundBackend, vip_id: int = 0, key: VipKey = KEY, **asked: object) -> BoundVip:
    by_address = {bound.backend.address: bound for bound in backends}
    return bound_vip(vip_id, Vip(key, **asked), 1, (), by_address)  # type: ignore[arg-type]


def state(*vips: BoundVip) -> Snapshot:
    return snapshot(1, {bound.vip.key: bound for bound in vips})


def observed(
    health: Mapping[int, Health] | None = None,
    next_hops: Mapping[IPAddress, Resolution] | None = None,
    tunnel_sources: tuple[IPNetwork, ...] = (),
) -> Observed:
    """All is well but for what is given."""
    healths = dict.fromkeys(range(1, 10), Health.UP) | dict(health or {})
    hops = {address: Resolution(next_hop(address)) for address in (ONE, TWO, THREE)} | dict(next_hops or {})
    return Observed({key: KnownHealth(value, "no answer", NOW) for key, value in healths.items()}, hops, tunnel_sources)


def after(*vips: BoundVip, seen: Observed | None = None, held: Held | None = None) -> Held:
    held = held or Held()
    return plan(state(*vips), seen or observed(), held).after(held)


def kinds(planned: Plan) -> list[type]:
    return [type(step) for step in planned.steps]


TWO_BACKENDS = (backend(1, ONE), backend(2, TWO))


# --- order


def test_a_first_vip_has_its_backends_and_table_written_before_it_is_seen():
    planned = plan(state(vip(*TWO_BACKENDS)), observed(), Held())
    assert kinds(planned) == [WriteBackends, StartVips, WriteTable, WriteVips]


def test_nothing_is_planned_when_all_is_as_it_should_be():
    wanted = state(vip(*TWO_BACKENDS))
    held = plan(wanted, observed(), Held()).after(Held())
    assert plan(wanted, observed(), held).steps == ()
    read_back = replace(held, drafts={})
    assert plan(wanted, observed(), read_back).steps == ()


CHANGES = {
    "health": (vip(*TWO_BACKENDS), observed({2: Health.DOWN})),
    "mac": (vip(*TWO_BACKENDS), observed(next_hops={ONE: Resolution(replace(next_hop(ONE), ifindex=3))})),
    "no mac": (vip(*TWO_BACKENDS), observed(next_hops={ONE: Resolution(None, "lost")})),
    "forward": (vip(*TWO_BACKENDS, forward=Forward.IPIP), observed()),
    "own forward": (vip(TWO_BACKENDS[0], backend(2, TWO, forward=Forward.IPIP)), observed()),
    "outer source": (vip(*TWO_BACKENDS), observed(tunnel_sources=(ip_network("10.9.0.0/16"),))),
    "weight": (vip(TWO_BACKENDS[0], backend(2, TWO, weight=2)), observed()),
    "new holder": (vip(TWO_BACKENDS[0], backend(2, THREE, epoch=1)), observed()),
    "vip id": (vip(*TWO_BACKENDS, vip_id=3), observed()),
}


@pytest.mark.parametrize(("wanted", "seen"), CHANGES.values(), ids=CHANGES)
def test_a_plan_made_of_the_one_before_is_the_plan_made_anew(wanted: BoundVip, seen: Observed):
    for first in (vip(*TWO_BACKENDS), vip(*TWO_BACKENDS, forward=Forward.IPIP)):
        held = after(first)
        quick, anew = (plan(state(wanted), seen, start).after(start) for start in (held, replace(held, drafts={})))
        assert (quick.vips, quick.backends) == (anew.vips, anew.backends)
        assert quick.tables.keys() == anew.tables.keys()
        assert all(quick.tables[vip_id] == anew.tables[vip_id] for vip_id in quick.tables)


def test_a_flip_makes_anew_what_it_concerns_alone():
    wanted, well = state(vip(*TWO_BACKENDS)), observed()
    held = plan(wanted, well, Held()).after(Held())
    flipped = replace(well, health={**well.health, 2: KnownHealth(Health.DOWN, "no answer", NOW)})
    before, then = held.drafts[0].backends, plan(wanted, flipped, held).drafts[0].backends
    assert [then[key] is before[key] for key in (1, 2)] == [True, False]


def test_a_backend_that_fails_is_out_of_the_table_before_it_is_unusable():
    held = after(vip(*TWO_BACKENDS))
    planned = plan(state(vip(*TWO_BACKENDS)), observed({2: Health.DOWN}), held)
    assert kinds(planned) == [WriteTable, WriteBackends]
    assert [entry.usable for entry in planned.after(held).backends.values()] == [True, False]


def test_a_backend_that_is_back_is_usable_before_it_is_in_the_table():
    held = after(vip(*TWO_BACKENDS), seen=observed({2: Health.DOWN}))
    assert kinds(plan(state(vip(*TWO_BACKENDS)), observed(), held)) == [WriteBackends, WriteTable]


@pytest.mark.parametrize(
    ("second", "seen"),
    [
        (backend(2, TWO, admin_state=AdminState.DRAIN), observed()),
        (backend(2, TWO, weight=0), observed()),
        (backend(2, TWO), observed({2: Health.UNKNOWN})),
        (backend(2, TWO), observed({2: Health.DOWN})),
    ],
    ids=["drained", "weight 0", "no check has passed", "down, and keeps its connections"],
)
def test_the_packet_path_knows_which_backends_take_nothing_new(second: BoundBackend, seen: Observed):
    entries = after(vip(backend(1, ONE), second, on_unhealthy=OnUnhealthy.KEEP), seen=seen).backends
    assert [(entry.usable, entry.takes_new) for entry in entries.values()] == [(True, True), (True, False)]


def test_a_backend_that_fails_open_takes_new_connections():
    seen = observed({1: Health.DOWN, 2: Health.DOWN})
    entries = after(vip(*TWO_BACKENDS, all_unhealthy=AllUnhealthy.FAIL_OPEN), seen=seen).backends
    assert all(entry.takes_new for entry in entries.values())


def test_a_backend_that_is_removed_is_cleared_after_the_table():
    held = after(vip(*TWO_BACKENDS))
    planned = plan(state(vip(backend(1, ONE))), observed(), held)
    assert kinds(planned) == [WriteTable, ClearBackends]
    assert planned.after(held).backends.keys() == {1}


def test_a_vip_that_is_removed_is_not_seen_before_its_table_and_backends_go():
    held = after(vip(*TWO_BACKENDS))
    planned = plan(state(), observed(), held)
    assert kinds(planned) == [WriteVips, DeleteTable, ClearBackends]
    assert planned.after(held) == Held()


def test_an_id_that_changes_hands_is_taken_from_its_old_holder_first():
    held = after(vip(*TWO_BACKENDS))
    planned = plan(state(vip(backend(1, ONE), backend(2, THREE, epoch=1))), observed(), held)
    assert kinds(planned) == [WriteTable, ClearBackends, WriteBackends, WriteTable]
    assert 2 not in unpack(planned.tables[0].table.slots)[0]


def test_a_vip_id_that_changes_hands_is_taken_from_its_old_holder_first():
    held = after(vip(*TWO_BACKENDS))
    other = vip(backend(3, THREE), key=VipKey.parse("203.0.113.11:80/tcp"))
    planned = plan(state(other), observed(), held)
    assert kinds(planned)[:3] == [WriteVips, DeleteTable, ClearBackends]
    assert kinds(planned)[3:] == [WriteBackends, StartVips, WriteTable, WriteVips]
    assert planned.after(held).tables[0].counts.steady == TABLE_SIZE


def test_a_table_left_without_its_vip_is_not_built_upon():
    foreign = pack(np.full(TABLE_SIZE, 9, np.uint16), np.full(TABLE_SIZE, 8, np.uint16))
    planned = plan(state(vip(*TWO_BACKENDS)), observed(), Held(tables={0: HeldTable.of(foreign)}))
    assert planned.after(Held()).tables[0].counts.steady == TABLE_SIZE


def test_one_vip_that_changes_leaves_the_tables_of_others_alone():
    other = vip(backend(3, THREE), vip_id=1, key=VipKey.parse("203.0.113.11:80/tcp"))
    held = after(vip(*TWO_BACKENDS), other)
    planned = plan(state(vip(backend(1, ONE), backend(2, TWO, weight=5)), other), observed(), held)
    assert [step.vip_id for step in planned.tables] == [0]


# --- slots


def test_a_drain_keeps_open_connections():
    held = after(vip(*TWO_BACKENDS))
    drained = vip(backend(1, ONE), backend(2, TWO, admin_state=AdminState.DRAIN))
    planned = plan(state(drained), observed(), held)
    assert kinds(planned) == [WriteBackends, WriteTable]
    owners, previous = unpack(planned.tables[0].table.slots)
    assert set(owners.tolist()) == {1}
    assert set(previous[planned.tables[0].moved].tolist()) == {2}
    assert planned.tables[0].table.counts.moving == len(planned.tables[0].moved)


@pytest.mark.parametrize(
    ("on_unhealthy", "moving"), [(OnUnhealthy.RESET, False), (OnUnhealthy.KEEP, True)], ids=["reset", "keep"]
)
def test_on_unhealthy_decides_about_open_connections(on_unhealthy, moving):
    wanted = vip(*TWO_BACKENDS, on_unhealthy=on_unhealthy)
    result = after(wanted, seen=observed({2: Health.DOWN}), held=after(wanted))
    assert (result.tables[0].counts.moving > 0) is moving
    assert result.backends[2].usable is moving


def test_only_slots_of_a_failed_backend_change_hands_and_come_back():
    wanted = vip(*TWO_BACKENDS, backend(3, THREE))
    held = after(wanted)
    failed = after(wanted, seen=observed({2: Health.DOWN}), held=held)
    before, without = held.tables[0].owners.owners, failed.tables[0].owners.owners
    assert np.array_equal(before != without, before == 2)
    assert np.array_equal(after(wanted, held=failed).tables[0].owners.owners, before)


def test_keeping_becomes_out_for_slots_that_still_move():
    drained = vip(backend(1, ONE), backend(2, TWO, admin_state=AdminState.DRAIN))
    held = after(drained, held=after(vip(*TWO_BACKENDS)))
    maint = vip(backend(1, ONE), backend(2, TWO, admin_state=AdminState.MAINT))
    result = after(maint, held=held)
    assert result.tables[0].counts.moving == 0
    assert result.tables[0].counts.pinned == held.tables[0].counts.moving


def test_slots_are_pinned_before_a_vip_stops_recording_every_flow():
    held = after(vip(*TWO_BACKENDS, tracking=Tracking.ALWAYS))
    planned = plan(state(vip(*TWO_BACKENDS)), observed(), held)
    assert kinds(planned) == [WriteTable, WriteVips]
    assert planned.tables[0].table.counts.pinned == TABLE_SIZE
    assert plan(state(vip(*TWO_BACKENDS)), observed(), planned.after(held)).steps == ()


def test_slots_of_udp_are_always_steady():
    key = VipKey.parse("203.0.113.10:53/udp")
    held = after(vip(*TWO_BACKENDS, key=key))
    drained = vip(backend(1, ONE), backend(2, TWO, admin_state=AdminState.DRAIN), key=key)
    assert after(drained, held=held).tables[0].counts.steady == TABLE_SIZE


# --- who is used


def use_of(record: BoundVip, seen: Observed, backend_id: int = 2) -> tuple[Use, str]:
    verdict = assess(record, seen)[backend_id]
    return verdict.use, verdict.reason


@pytest.mark.parametrize(
    ("asked", "use", "reason"),
    [
        ({}, Use.SERVING, ""),
        ({"admin_state": AdminState.DRAIN}, Use.KEEPING, "draining"),
        ({"admin_state": AdminState.MAINT}, Use.OUT, "in maintenance"),
        ({"weight": 0}, Use.KEEPING, "its weight is 0"),
    ],
)
def test_what_was_asked_decides(asked, use, reason):
    assert use_of(vip(backend(1, ONE), backend(2, TWO, **asked)), observed()) == (use, reason)


@pytest.mark.parametrize(
    ("health", "use", "reason"),
    [
        (Health.UP, Use.SERVING, ""),
        (Health.DOWN, Use.OUT, "its check failed: no answer"),
        (Health.UNKNOWN, Use.KEEPING, "its check has not passed yet"),
    ],
)
def test_health_decides(health, use, reason):
    assert use_of(vip(*TWO_BACKENDS), observed({2: health})) == (use, reason)


def test_a_backend_without_a_next_hop_is_out_and_says_why():
    seen = observed(next_hops={TWO: Resolution(None, "10.0.0.2 does not answer ARP on eth0")})
    assert use_of(vip(*TWO_BACKENDS), seen) == (Use.OUT, "10.0.0.2 does not answer ARP on eth0")
    assert use_of(vip(*TWO_BACKENDS), Observed(seen.health, {})) == (Use.OUT, "its next hop is not known yet")


def test_a_backend_behind_a_nic_without_the_program_is_out_and_says_which():
    away = observed(next_hops={TWO: Resolution(replace(next_hop(TWO), interface="eth1", ifindex=3))})
    use, reason = use_of(vip(*TWO_BACKENDS), replace(away, ifindexes=frozenset({2})))
    assert use is Use.OUT
    assert "goes out by eth1, which xdplb is not attached to" in reason
    assert use_of(vip(*TWO_BACKENDS), replace(away, ifindexes=frozenset({2, 3}))) == (Use.SERVING, "")


def test_dr_does_not_reach_behind_a_gateway_and_ipip_does():
    seen = observed(next_hops={TWO: Resolution(next_hop(TWO, gateway="10.0.0.254"))})
    use, reason = use_of(vip(*TWO_BACKENDS), seen)
    assert use is Use.OUT
    assert "gateway 10.0.0.254" in reason
    assert "use ipip" in reason
    assert use_of(vip(*TWO_BACKENDS, forward=Forward.IPIP), seen) == (Use.SERVING, "")


@pytest.mark.parametrize(
    ("all_unhealthy", "owners"),
    [(AllUnhealthy.FAIL_OPEN, {1, 2}), (AllUnhealthy.FAIL_CLOSED, {0}), (AllUnhealthy.REJECT, {0})],
)
def test_without_a_healthy_backend_all_unhealthy_decides(all_unhealthy, owners):
    wanted = vip(*TWO_BACKENDS, all_unhealthy=all_unhealthy)
    result = after(wanted, seen=observed({1: Health.DOWN, 2: Health.DOWN}), held=after(wanted))
    assert set(result.tables[0].owners.owners.tolist()) == owners
    assert all(entry.usable is (owners != {0}) for entry in result.backends.values())


def test_fail_open_uses_no_backend_that_never_passed_nor_one_that_was_taken_out():
    wanted = vip(backend(1, ONE), backend(2, TWO), backend(3, THREE, admin_state=AdminState.MAINT))
    eligibility = assess(wanted, observed({1: Health.DOWN, 2: Health.UNKNOWN, 3: Health.DOWN}))
    assert [eligibility[number].use for number in (1, 2, 3)] == [Use.SERVING, Use.KEEPING, Use.OUT]


def test_fail_open_ends_when_one_is_up():
    wanted = vip(*TWO_BACKENDS)
    held = after(wanted, seen=observed({1: Health.DOWN, 2: Health.DOWN}))
    result = after(wanted, seen=observed({1: Health.DOWN}), held=held)
    assert set(result.tables[0].owners.owners.tolist()) == {2}


# --- entries


def test_an_entry_holds_no_more_than_the_maps_do():
    seen = observed(next_hops={ONE: Resolution(replace(next_hop(ONE, gateway="10.0.0.254"), mtu=65536))})
    held = after(vip(backend(1, ONE), forward=Forward.IPIP), seen=seen).backends[1].next_hop
    assert held is not None
    assert (held.interface, held.gateway, held.mtu) == ("", None, 65535)


def test_a_network_of_outer_sources_is_for_ipip_alone():
    seen = observed(tunnel_sources=(ip_network("10.200.0.0/16"),))
    entries = after(vip(backend(1, ONE, forward=Forward.IPIP), backend(2, TWO)), seen=seen).backends
    assert (entries[1].source, entries[1].source_mask) == (IPv4Address("10.200.0.0"), 0xFFFF)
    assert (entries[2].source, entries[2].source_mask) == (None, 0)
    assert entries[1].next_hop is not None
    assert entries[1].next_hop.source == IPv4Address("10.200.0.0")


def test_one_outer_source_is_the_next_hops():
    seen = observed(tunnel_sources=(ip_network("10.200.0.1/32"),))
    entry = after(vip(backend(1, ONE, forward=Forward.IPIP)), seen=seen).backends[1]
    assert (entry.source, entry.source_mask) == (None, 0)
    assert entry.next_hop is not None
    assert entry.next_hop.source == IPv4Address("10.200.0.1")


# --- sentences


def said(wanted: Snapshot, seen: Observed, held: Held) -> tuple[str, ...]:
    """What a forecast says where what is asked for stays as it is."""
    return sentences(forecast(wanted, wanted, seen, Present(held, frozenset(), {}, np.zeros(1 << 16, np.int64))).impact)


def test_a_plan_says_what_it_does():
    held = after(vip(backend(1, ONE), backend(2, TWO, weight=3)))
    table, two = said(state(vip(backend(1, ONE), backend(2, TWO, weight=3))), observed({2: Health.DOWN}), held)
    assert table == (
        "VIP 203.0.113.10:80/tcp: 49153 of 65537 slots change owners; open connections stay in 0 of "
        "them; then 65537 are steady, 0 moving and 0 pinned"
    )
    assert two == "backend 10.0.0.2 (dr) receives no packets: its check failed: no answer"


def test_a_first_plan_says_who_gets_slots():
    assert said(state(vip(backend(1, ONE))), observed(), Held()) == (
        "backend 10.0.0.1 (dr) takes new connections",
        "VIP 203.0.113.10:80/tcp: 65537 of 65537 slots are assigned to backends",
    )
