# SPDX-License-Identifier: Apache-2.0
"""Who serves of a VIP, for any health, any policies, and whatever the operator does: all policies together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bound import bound_backend, bound_vip, with_backend, with_vip
from tests.fakes import next_hop
from xdplb.balance.table import build
from xdplb.control.plan.drafting import draft
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.eligibility import Observed, Use
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.plan.policies import Policy, rule_words
from xdplb.control.plan.tables import owners_at_last, owners_of
from xdplb.control.state.desired import Drain
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.model.address import IPAddress
from xdplb.model.advice import Advice
from xdplb.model.backend import AdminState, Backend, BackendRole, Health, KnownHealth
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.hold import Hold
from xdplb.model.min_serving import MinServing
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import AllUnhealthy, OnUnhealthy, Scheduler, Tracking, Vip, VipKey

KEY = VipKey.parse("203.0.113.10:80/tcp")
START = datetime(2030, 1, 1, tzinfo=UTC)
IDS = range(1, 7)
SECONDS = 20

POLICIES = {
    "on_unhealthy": st.sampled_from(OnUnhealthy),
    "all_unhealthy": st.sampled_from(AllUnhealthy),
    "min_serving": st.sampled_from([MinServing(), MinServing(2), MinServing(0, 50), MinServing(9)]),
    "panic_share": st.sampled_from([0.0, 0.5, 1.0]),
    "slow_start_seconds": st.sampled_from([0, SECONDS]),
}
VIPS = st.builds(
    lambda scheduler, asked: Vip(KEY, scheduler=scheduler, tracking=Tracking.ALWAYS, **asked),
    st.sampled_from(Scheduler),
    st.fixed_dictionaries(POLICIES),
)
ROLES = st.lists(
    st.sampled_from([BackendRole.PRIMARY, BackendRole.PRIMARY, BackendRole.BACKUP]), min_size=6, max_size=6
)
HEALTHS = st.sampled_from([Health.UP, Health.UP, Health.DOWN, Health.DOWN, Health.UNKNOWN])
ADVICE = st.sampled_from([None, Advice(), Advice(0), Advice(50), Advice(None, 3), Advice(admin=AdminState.DRAIN)])
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("health"), st.sampled_from(IDS), HEALTHS),
        st.tuples(st.just("health"), st.sampled_from(IDS), HEALTHS),
        st.tuples(st.just("state"), st.sampled_from(IDS), st.sampled_from(AdminState)),
        st.tuples(st.just("weight"), st.sampled_from(IDS), st.integers(0, 2)),
        st.tuples(st.just("way"), st.sampled_from(IDS), st.sampled_from(["found", ""])),
        st.tuples(st.just("hold"), st.sampled_from(IDS), st.booleans()),
        st.tuples(st.just("advice"), st.sampled_from(IDS), ADVICE),
        st.tuples(st.just("eject"), st.sampled_from(IDS), st.sampled_from(["ejected for 10 s", ""])),
        st.tuples(st.just("cut"), st.sampled_from(IDS), st.just(None)),
        st.tuples(st.just("restart"), st.just(0), st.just(None)),
        st.tuples(st.just("vip"), st.just(0), st.fixed_dictionaries({}, optional=POLICIES)),
        st.tuples(st.just("time"), st.just(0), st.sampled_from([0.5, 2.0, 30.0])),
    ),
    min_size=4,
    max_size=14,
)


@dataclass
class Play:
    """A VIP while things happen, with the draft that each is planned from."""

    vip: BoundVip
    observed: Observed
    made: VipDraft | None = None

    def happen(self, what: str, number: int, value: object) -> None:
        """Let it happen, and plan."""
        now = self.observed.now
        assert now is not None
        if what == "time":
            assert isinstance(value, float)
            self.observed = replace(self.observed, now=now + timedelta(seconds=value))
        elif what == "health":
            assert isinstance(value, Health)
            known = self.observed.health[number]
            if known.health is value:
                return
            was_up = value is Health.DOWN and (known.health is Health.UP or known.was_up)
            after = KnownHealth(value, "", now, was_up, known.advice)
            self.observed = replace(self.observed, health={**self.observed.health, number: after})
        elif what == "hold":
            held = {n: hold for n, hold in self.observed.holds.items() if n != number}
            hold = Hold(now + timedelta(minutes=1), 5, 40.0)
            self.observed = replace(self.observed, holds=held | ({number: hold} if value else {}))
        elif what == "advice":
            assert value is None or isinstance(value, Advice)
            known = replace(self.observed.health[number], advice=value)
            self.observed = replace(self.observed, health={**self.observed.health, number: known})
        elif what == "eject":
            assert isinstance(value, str)
            others = {n: why for n, why in self.observed.ejected.items() if n != number}
            self.observed = replace(self.observed, ejected=others | ({number: value} if value else {}))
        elif what == "way":
            hop = Resolution(next_hop(address(number)) if value else None, "" if value else "lost")
            self.observed = replace(self.observed, next_hops={**self.observed.next_hops, address(number): hop})
        elif not self.is_asked(what, number, value, now):
            return
        self.plan({number} if number else set())

    def is_asked(self, what: str, number: int, value: object, now: datetime) -> bool:
        """Let the operator ask for it; return whether anything is other than before."""
        if what == "restart":  # the daemon knows what is stored, and that is not who flapped or was ejected
            self.made = None
            self.observed = replace(self.observed, holds={}, ejected={})
        elif what == "vip":
            assert isinstance(value, dict)
            self.vip = with_vip(self.vip, replace(self.vip.vip, **value))
        elif what == "cut":
            bound = self.vip.backends[address(number)]
            drain = Drain(now, timeout_seconds=0.0, cut_at_deadline=True)
            changed = replace(bound.backend, admin_state=AdminState.DRAIN)
            self.vip = with_backend(self.vip, bound_backend(number, 1, changed, bound.generation + 1, drain))
            self.observed = replace(self.observed, cuts={**self.observed.cuts, number: now})
        else:
            bound = self.vip.backends[address(number)]
            name = {"state": "admin_state", "weight": "weight"}[what]
            changed = replace(bound.backend, **{name: value})  # type: ignore[arg-type]
            if changed == bound.backend:
                return False
            self.vip = with_backend(self.vip, bound_backend(number, 1, changed, bound.generation + 1))
        return True

    def plan(self, seen: set[int]) -> VipDraft:
        """Make the draft anew, with what was seen."""
        self.made = draft(self.vip, self.observed, {}, self.made, seen)
        return self.made


def address(number: int) -> IPv4Address:
    return IPv4Address(f"10.0.0.{number}")


def play_of(vip: Vip, roles: list[BackendRole]) -> Play:
    """Return a play that begins with all backends up for long."""
    bound: dict[IPAddress, BoundBackend] = {
        address(number): bound_backend(
            number, 1, Backend(address(number), role=roles[number - 1], max_new_flows=number % 3), 1
        )
        for number in IDS
    }
    health = {number: KnownHealth(Health.UP, "", START - timedelta(days=1)) for number in IDS}
    hops: dict[IPAddress, Resolution] = {address(number): Resolution(next_hop(address(number))) for number in IDS}
    play = Play(bound_vip(1, vip, 1, (HealthCheck(CheckType.AGENT, port=9),), bound), Observed(health, hops, now=START))
    play.plan(set())
    return play


def serving(made: VipDraft) -> set[int]:
    return {number for number, standing in made.eligibility.items() if standing.use is Use.SERVING}


def check(play: Play, made: VipDraft) -> None:
    """Check what must be so at any time."""
    found, health = serving(made), play.observed.health
    backends = {bound.id: bound.backend for bound in play.vip.backends.values()}
    reachable = {n for n in IDS if play.observed.next_hops[address(n)].next_hop is not None}
    told = {n: known.advice for n, known in health.items() if known.advice is not None}
    asked = {n for n, one in backends.items() if one.admin_state is AdminState.READY and one.weight} & reachable
    asked -= {n for n, advice in told.items() if advice.takes_nothing_new}
    assert found <= asked, "who was taken out, wants nothing, or nothing can be sent to, does not serve"
    assert all(health[n].health is not Health.UNKNOWN for n in found), "nor does one whose check never had a result"
    primaries = {n for n in asked if backends[n].role is BackendRole.PRIMARY}
    well = {n for n in asked if health[n].health is Health.UP}
    up = well - play.observed.ejected.keys()
    held = play.observed.holds.keys() & up
    assert up & primaries <= found | held, "a healthy primary always serves, unless it flaps"
    assert made.rule.uses_held or not held & found
    if held & primaries - found:
        least = max(made.rule.needed, made.rule.asked / 2)
        assert len(found & up) >= least, "as long as there are enough others"
    if up:
        assert found, "somebody serves if anybody is healthy"
        assert up & primaries or up <= found | held, "backups do if no primary is"
    elif well:
        assert found == well, "rather those that are ejected than any that fails its check"
    elif play.vip.vip.all_unhealthy is AllUnhealthy.FAIL_OPEN:
        assert bool(found) is any(health[n].health is Health.DOWN for n in asked)
    elif play.vip.vip.all_unhealthy in {AllUnhealthy.FAIL_CLOSED, AllUnhealthy.REJECT}:
        assert not found
    else:
        assert all(health[n].was_up for n in found), "last-good lets in no one that never was up"
        hopeful = {n for n in asked if health[n].health is Health.DOWN}
        pool = hopeful & primaries or hopeful
        assert bool(found) is any(health[n].was_up for n in pool)
    if made.rule.policy is Policy.PANIC:
        assert up & primaries
        assert {n for n in primaries if health[n].health is not Health.UNKNOWN} <= found
    owned = owners_of(made.table).owned
    assert owned.keys() == found, "who serves has slots, and nobody else has"
    gone = {n for n, standing in made.eligibility.items() if standing.use is Use.OUT}
    assert not gone & owned.keys()
    assert {n for n, bound in by_id(play).items() if bound.drain is not None} <= gone, "who was cut off gets nothing"
    check_words(play, made)


def check_words(play: Play, made: VipDraft) -> None:
    """Check that all that is said of it is so."""
    found, health, ejected = serving(made), play.observed.health, play.observed.ejected.keys()
    well = {n for n in found if health[n].health is Health.UP} - ejected
    standing = made.standing(nics_carry=True)
    assert standing.serving == len(well)
    assert (standing.status is OperatingStatus.FAILING_OPEN) is bool(found - well)
    assert (standing.status is OperatingStatus.OFFLINE) is (not found)
    assert {n for n, each in made.eligibility.items() if each.unfit} == found - well
    assert all(each.reason for n, each in made.eligibility.items() if n not in well), "why it does not serve, or does"
    words = rule_words(made.rule, play.vip.vip)
    if "serve too" in words or ", so those " in words:
        assert found - well or made.rule.uses_held
    if "so no new connection is accepted" in words:
        assert not found
    if found - well:
        assert words


def by_id(play: Play) -> dict[int, BoundBackend]:
    return {bound.id: bound for bound in play.vip.backends.values()}


@settings(max_examples=60, deadline=None)
@given(VIPS, ROLES, HAPPENINGS)
def test_whatever_happens_who_must_not_serve_does_not_and_somebody_does_if_somebody_may(vip, roles, happenings):
    play = play_of(vip, roles)
    for what, number, value in happenings:
        play.happen(what, number, value)
        assert play.made is not None
        check(play, play.made)


@settings(max_examples=60, deadline=None)
@given(VIPS, ROLES, HAPPENINGS)
def test_a_draft_made_from_the_one_before_is_the_one_made_anew(vip, roles, happenings):
    play = play_of(vip, roles)
    for what, number, value in happenings:
        play.happen(what, number, value)
        made = play.made
        assert made is not None
        anew = draft(play.vip, play.observed, {}, None)
        assert (made.rule, made.tally, made.asked) == (anew.rule, anew.tally, anew.asked)
        assert (made.table.out, made.table.kept) == (anew.table.out, anew.table.kept)
        assert {n: each.use for n, each in made.eligibility.items()} == {
            n: each.use for n, each in anew.eligibility.items()
        }
        if made.newcomers == anew.newcomers:  # a ramp may be known of what came before alone
            assert (entries(made), made.limited) == (entries(anew), anew.limited)
        again = draft(play.vip, play.observed, {}, made, None)
        assert (again.table, again.ramps, entries(again)) == (made.table, made.ramps, entries(made))


def entries(made: VipDraft) -> Mapping[int, object]:
    return {number: backend.entry for number, backend in made.backends.items()}


@settings(max_examples=40, deadline=None)
@given(VIPS, ROLES, HAPPENINGS)
def test_once_all_is_well_again_the_table_is_the_first_one_bit_for_bit(vip, roles, happenings):
    play = play_of(vip, roles)
    assert play.made is not None
    first = owners_of(play.made.table).owners
    before = {bound.id: bound.backend for bound in play.vip.backends.values()}
    for what, number, value in happenings:
        play.happen(what, number, value)
    play.happen("vip", 0, {name: getattr(vip, name) for name in POLICIES})
    for number in IDS:
        play.happen("state", number, before[number].admin_state)
        play.happen("weight", number, before[number].weight)
        play.happen("way", number, "found")
        play.happen("health", number, Health.UP)
        play.happen("hold", number, False)  # noqa: FBT003
        play.happen("advice", number, None)
        play.happen("eject", number, "")
    assert np.array_equal(owners_at_last(play.made.table).owners, first)
    play.happen("time", 0, SECONDS * 2.0)
    assert (play.made.ramps, play.made.next_step) == ({}, None)
    assert np.array_equal(owners_of(play.made.table).owners, first)
    if not vip.scheduler.is_per_connection and BackendRole.PRIMARY in roles and vip.min_serving == MinServing():
        primaries = [one.weighted for number, one in play.made.backends.items() if not one.weighted.in_reserve]
        assert np.array_equal(first, build(primaries, frozenset())), "backups make no difference"


@settings(max_examples=60, deadline=None)
@given(VIPS, ROLES, HAPPENINGS)
def test_what_is_observed_before_it_is_said_to_be_seen_does_no_harm(vip, roles, happenings):
    """A check may fail while a change is being planned: its result is there then, and is planned next."""
    play = play_of(vip, roles)
    late: set[int] = set()
    for turn, (what, number, value) in enumerate(happenings):
        before = play.made
        play.happen(what, number, value)
        if turn % 2 and what not in {"state", "weight", "cut", "restart", "vip"}:
            play.made = before
            play.plan(set())
            late.add(number)
        elif what != "restart":
            play.plan(late - {0})
            late.clear()
    made = play.plan(set(IDS))
    check(play, made)
    anew = draft(play.vip, play.observed, {}, None)
    assert (made.rule, made.tally, made.table.out) == (anew.rule, anew.tally, anew.table.out)
