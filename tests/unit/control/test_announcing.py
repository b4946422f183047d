# SPDX-License-Identifier: Apache-2.0
"""The plan of routes: which should be there, what differs, and when one may come back."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from xdplb.control.plan.announcing import Difference, Offer, Returning, Verdict, Wish, difference, metric_of, verdict_of
from xdplb.model.announcing import AnnouncedRoute, checked_table
from xdplb.model.errors import InvalidError
from xdplb.model.node import NodeState
from xdplb.model.vip import Announce

FOUR, SIX, PREFIX = (ip_network(text) for text in ("203.0.113.10/32", "2001:db8::10/128", "203.0.113.0/24"))


def wish(announce: Announce, ailing: str = "", strained: str = "") -> Wish:
    return Wish("203.0.113.10:80/tcp", announce, ailing, strained)


@pytest.mark.parametrize(
    ("wishes", "offer", "reason"),
    [
        ([], Offer.NOTHING, "no VIP asks for it"),
        ([wish(Announce.NEVER)], Offer.NOTHING, "no VIP asks for it"),
        ([wish(Announce.HEALTHY)], Offer.FULL, ""),
        ([wish(Announce.HEALTHY, "a: down")], Offer.NOTHING, "a: down"),
        ([wish(Announce.ALWAYS, "a: down")], Offer.FULL, ""),
        ([wish(Announce.HEALTHY), wish(Announce.HEALTHY, "b: down")], Offer.NOTHING, "b: down"),
        ([wish(Announce.HEALTHY), wish(Announce.NEVER, "b: down")], Offer.FULL, ""),
        ([wish(Announce.ALWAYS), wish(Announce.HEALTHY, "b: down")], Offer.FULL, ""),
        ([wish(Announce.HEALTHY), wish(Announce.HEALTHY, strained="b: open")], Offer.LAST_RESORT, "b: open"),
        ([wish(Announce.HEALTHY, "a: down"), wish(Announce.HEALTHY, strained="b: open")], Offer.NOTHING, "a: down"),
        ([wish(Announce.ALWAYS, strained="a: open")], Offer.FULL, ""),
    ],
)
def test_an_address_offers_what_the_worst_of_its_vips_that_ask_for_it_allows(
    wishes: list[Wish], offer: Offer, reason: str
) -> None:
    assert verdict_of(wishes) == Verdict(offer, reason)


def test_the_metric_says_whether_the_node_drains_or_is_a_last_resort() -> None:
    assert [metric_of(FOUR, state, Offer.FULL) for state in NodeState] == [0, 100, None]
    assert [metric_of(SIX, state, Offer.FULL) for state in NodeState] == [1024, 100, None]
    assert [metric_of(SIX, state, Offer.LAST_RESORT) for state in NodeState] == [100, 100, None]
    assert [metric_of(SIX, state, Offer.NOTHING) for state in NodeState] == [None, None, None]


def test_a_new_metric_comes_before_the_old_one_goes() -> None:
    present = [AnnouncedRoute(FOUR, 0), AnnouncedRoute(SIX, 1024)]
    assert difference({FOUR: 100, SIX: 1024}, present) == Difference(
        add=(AnnouncedRoute(FOUR, 100),), remove=(AnnouncedRoute(FOUR, 0),)
    )


def test_what_is_as_wanted_and_what_is_of_others_stays() -> None:
    others = [AnnouncedRoute(PREFIX, 0, ours=False), AnnouncedRoute(SIX, 1024, ours=False)]
    assert difference({FOUR: 0}, [AnnouncedRoute(FOUR, 0), *others]) == Difference()
    assert difference({}, [AnnouncedRoute(PREFIX, 0), *others[1:]]).remove == (AnnouncedRoute(PREFIX, 0),)


def test_a_route_of_another_program_is_never_replaced() -> None:
    blocked = difference({FOUR: 0, SIX: 100}, [AnnouncedRoute(FOUR, 0, ours=False), AnnouncedRoute(SIX, 0, ours=False)])
    assert blocked == Difference(add=(AnnouncedRoute(SIX, 100),), blocked=frozenset({FOUR}))


def test_the_first_time_it_comes_at_once_and_then_the_later_the_more_often_it_went() -> None:
    returning = Returning(2.0)
    assert returning.waits(100.0, is_well=True) == 0
    for withdrawn, delay in ((101.0, 2.0), (110.0, 4.0), (120.0, 8.0)):
        returning.withdrawn(withdrawn)
        assert returning.waits(withdrawn + 1, is_well=True) == delay
        assert returning.waits(withdrawn + 1 + delay, is_well=True) == 0
    for again in range(6):
        returning.withdrawn(150.0 + again)
    assert returning.waits(160.0, is_well=True) == 60
    assert returning.waits(160.0 + 600, is_well=True) == 0, "what was ten minutes ago is forgotten"


def test_it_must_be_well_all_the_time() -> None:
    returning = Returning(2.0)
    returning.withdrawn(100.0)
    assert returning.waits(101.0, is_well=True) == 2
    assert returning.waits(102.5, is_well=False) == 0
    assert returning.waits(103.0, is_well=True) == 2


def test_a_delay_of_zero_is_none() -> None:
    returning = Returning(0.0)
    for moment in range(5):
        returning.withdrawn(float(moment))
    assert returning.waits(10.0, is_well=True) == 0


@pytest.mark.parametrize("number", [1, 210, 252, 254])
def test_routes_may_be_in_a_table_of_their_own_or_the_main_one(number: int) -> None:
    assert checked_table(number) == number


@pytest.mark.parametrize("number", [0, 253, 255, 4242])
def test_routes_are_in_no_other_table_of_the_kernel_s(number: int) -> None:
    with pytest.raises(InvalidError, match=f"table {number}") as refused:
        checked_table(number)
    assert "254" in str(refused.value.hint)
