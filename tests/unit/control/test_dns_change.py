# SPDX-License-Identifier: Apache-2.0
"""What is changed of a DNS name: whose addresses come and go, and which are left alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.control.plan.dns_change import Standing, Will, Wish, change_of, standing_of
from xdplb.dns.records import Addresses, Change, Claim, Found
from xdplb.model.address import IPAddress

A, B, C6 = (ip_address(text) for text in ("203.0.113.10", "203.0.113.11", "2001:db8:f::10"))
SERVE, GO, WAIT = (Wish(will, 30) for will in (Will.SERVE, Will.GO, Will.WAIT))


def after(change: Change) -> Found:
    """Return the name as a server has it after a change."""
    found = change.found
    sides = []
    for version in (4, 6):
        had = found.of(version)
        those = had.those - change.removed | {each for each in change.put if each.version == version}
        sides.append(Addresses(those, dict(change.ttls).get(version, had.ttl) if those else 0))
    texts = found.texts - {claim.text for claim in change.released} | {claim.text for claim in change.claimed}
    return Found(sides[0], sides[1], texts)


def bring(found: Found, node: str, wishes: dict[IPAddress, Wish]) -> Found:
    """Return the name as `node` makes it; it has nothing more to do then."""
    done = after(change_of(found, node, wishes))
    assert not change_of(done, node, wishes)
    return done


def addresses(found: Found) -> set[IPAddress]:
    return set(found.v4.those | found.v6.those)


def test_what_serves_is_put_there_with_a_claim_and_goes_with_it() -> None:
    found = bring(Found(), "lb1", {A: SERVE, B: SERVE, C6: SERVE})
    assert addresses(found) == {A, B, C6}
    assert {(claim.node, claim.address) for claim in found.claims} == {("lb1", A), ("lb1", B), ("lb1", C6)}
    assert '"heritage=xdplb,xdplb/node=lb1,xdplb/address=203.0.113.10,xdplb/ttl=30"' in found.texts
    found = bring(found, "lb1", {A: GO, B: SERVE, C6: SERVE})
    assert addresses(found) == {B, C6}
    assert A not in {claim.address for claim in found.claims}


def test_the_last_of_a_family_stays_until_there_is_another() -> None:
    found = bring(Found(), "lb1", {A: SERVE, C6: SERVE})
    kept = bring(found, "lb1", {A: GO, C6: GO})
    assert addresses(kept) == {A, C6}
    assert standing_of(kept, "lb1", A, Will.GO) is Standing.LAST
    others = bring(kept, "lb2", {B: SERVE})
    assert addresses(bring(others, "lb1", {A: GO, C6: GO})) == {B, C6}


def test_of_several_that_fail_at_once_one_stays() -> None:
    found = bring(Found(), "lb1", {A: SERVE, B: SERVE})
    assert len(addresses(bring(found, "lb1", {A: GO, B: GO}))) == 1
    swapped = bring(bring(Found(), "lb1", {A: SERVE}), "lb1", {A: GO, B: SERVE})
    assert addresses(swapped) == {B}


def test_what_the_operator_removed_goes_even_if_it_is_the_last() -> None:
    assert bring(bring(Found(), "lb1", {A: SERVE}), "lb1", {}) == Found()


def test_an_address_of_several_nodes_goes_with_the_last_claim() -> None:
    found = bring(bring(bring(Found(), "lb1", {A: SERVE}), "lb2", {A: SERVE}), "lb2", {A: SERVE, B: SERVE})
    found = bring(found, "lb1", {A: GO})
    assert addresses(found) == {A, B}
    assert standing_of(found, "lb1", A, Will.GO) is Standing.OTHERS
    assert addresses(bring(found, "lb2", {A: GO, B: SERVE})) == {B}


def test_what_somebody_has_entered_is_never_touched() -> None:
    by_hand = Found(v4=Addresses(frozenset({A, B}), 300), texts=frozenset({'"v=spf1 -all"'}))
    for wish in (SERVE, GO, WAIT):
        assert not change_of(by_hand, "lb1", {A: wish})
    assert standing_of(by_hand, "lb1", A, Will.SERVE) is Standing.FOREIGN
    assert not change_of(by_hand, "lb1", {})


def test_the_ttl_is_the_shortest_that_is_asked_for_and_others_keep_theirs() -> None:
    found = bring(Found(), "lb1", {A: replace(SERVE, ttl=60)})
    found = bring(found, "lb2", {B: replace(SERVE, ttl=20)})
    assert found.v4.ttl == 20
    assert not change_of(found, "lb1", {A: replace(SERVE, ttl=60)})
    assert bring(found, "lb2", {B: replace(SERVE, ttl=90)}).v4.ttl == 60
    entered = Found(v4=Addresses(frozenset({B}), 300))
    assert bring(entered, "lb1", {A: SERVE}).v4.ttl == 300


def test_what_is_not_known_yet_stays_as_it_is() -> None:
    assert not change_of(Found(), "lb1", {A: WAIT})
    found = bring(Found(), "lb1", {A: SERVE, B: SERVE})
    assert not change_of(found, "lb1", {A: WAIT, B: WAIT})


def test_an_address_that_was_taken_away_is_put_there_again() -> None:
    found = bring(Found(), "lb1", {A: SERVE})
    assert addresses(bring(replace(found, v4=Addresses()), "lb1", {A: SERVE})) == {A}
    without_claim = replace(found, v4=Addresses(), texts=frozenset())
    assert addresses(bring(without_claim, "lb1", {A: SERVE})) == {A}


def test_an_alias_is_left_alone() -> None:
    assert not change_of(Found(alias="elsewhere.test"), "lb1", {A: SERVE})
    assert standing_of(Found(alias="elsewhere.test"), "lb1", A, Will.SERVE) is Standing.ALIAS


def test_a_claim_of_a_newer_version_is_one_and_what_is_none_is_not() -> None:
    newer = '"heritage=xdplb,xdplb/node=lb1,xdplb/address=203.0.113.10,xdplb/ttl=30,xdplb/site=x"'
    claim = Claim.parse(newer)
    assert claim is not None
    assert (claim.node, claim.address, claim.text) == ("lb1", A, newer)
    for text in (
        '"heritage=external-dns,external-dns/owner=x"',
        '"heritage=xdplb"',
        '"heritage=xdplb,xdplb/node=lb1,xdplb/address=1.2.3,xdplb/ttl=3"',
        '""',
    ):
        assert Claim.parse(text) is None


POOL = [
    *(ip_address(f"203.0.113.{last}") for last in range(1, 5)),
    ip_address("2001:db8::1"),
    ip_address("2001:db8::2"),
]
WISHES = st.dictionaries(st.sampled_from(POOL), st.sampled_from([SERVE, GO, WAIT, replace(SERVE, ttl=10)]))


@given(st.lists(st.tuples(st.sampled_from(["lb1", "lb2", "lb3"]), WISHES), max_size=12), st.sets(st.sampled_from(POOL)))
@settings(deadline=None, max_examples=150)
def test_whatever_nodes_want_one_after_the_other(
    turns: list[tuple[str, dict[IPAddress, Wish]]], entered: set[IPAddress]
) -> None:
    sides = [frozenset(each for each in entered if each.version == version) for version in (4, 6)]
    found = Found(Addresses(sides[0], 300 if sides[0] else 0), Addresses(sides[1], 300 if sides[1] else 0))
    for node, wishes in turns:
        before = found
        found = bring(found, node, wishes)
        assert entered <= addresses(found)
        claimed = {claim.address for claim in found.claims}
        assert claimed <= addresses(found)
        assert claimed.isdisjoint(entered)
        assert addresses(found) == claimed | entered
        for version in (4, 6):
            had, has = before.of(version).those, found.of(version).those
            on_purpose = {claim.address for claim in before.claims if claim.node == node} - wishes.keys()
            assert has or not had - on_purpose
