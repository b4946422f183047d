# SPDX-License-Identifier: Apache-2.0
"""A table as it is kept in memory: the same slots, what is counted of them, and what tables share."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from itertools import product

import numpy as np
import pytest

from xdplb.balance import held_table, pattern, slots
from xdplb.balance.compiled import IS_COMPILED
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.held_table import NO_TABLE, HeldTable
from xdplb.balance.pattern import Ownership
from xdplb.balance.slots import NOBODY, PINNED, STEADY, Owners, SlotCounts, Slots, pack
from xdplb.balance.table import WeightedBackend, assign, build

A, B, C = 1, 2, 3


@pytest.fixture(params=["C", "numpy"], autouse=True)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert IS_COMPILED, "xdplb was installed without a C compiler"
    if request.param == "numpy":
        monkeypatch.setattr(pattern, "LOOPS", None)
        monkeypatch.setattr(slots, "LOOPS", None)


def repeated(*pairs: tuple[int, int]) -> Slots:
    owners, previous = np.resize(np.array(pairs, np.uint16), (TABLE_SIZE, 2)).T
    return pack(owners, previous)


@pytest.mark.parametrize(
    "pairs",
    [
        [(NOBODY, STEADY)],
        [(A, STEADY)],
        [(A, STEADY), (NOBODY, STEADY), (B, A), (C, PINNED), (NOBODY, B)],
        [(number, (7 * number) % 900) for number in range(900)],
        [(0xFFFE, STEADY), (A, 0xFFFE)],
    ],
)
def test_the_slots_are_those_it_was_made_of(pairs):
    made = repeated(*pairs)
    table = HeldTable.of(made)
    assert np.array_equal(table.slots, made)
    assert table == HeldTable.of(made.copy())


def test_what_is_counted():
    made = np.zeros(TABLE_SIZE, np.uint32)
    made[:5] = pack(np.array([A, A, B, A, NOBODY], np.uint16), np.array([STEADY, STEADY, C, PINNED, STEADY], np.uint16))
    table = HeldTable.of(made)
    assert table.counts == SlotCounts(steady=TABLE_SIZE - 2, moving=1, pinned=1)
    assert table.moving.tolist() == [2]
    assert table.named == {A, B, C}
    assert (table.is_steady, table.has_owner) == (False, True)
    assert (NO_TABLE.is_steady, NO_TABLE.has_owner, NO_TABLE.named) == (True, False, frozenset())


def test_shares_are_of_the_whole_table():
    owners = np.zeros(TABLE_SIZE, np.uint16)
    owners[:16384], owners[16384:49152] = A, B
    assert HeldTable.steady(Ownership.of(owners)).shares == {A: 16384 / TABLE_SIZE, B: 32768 / TABLE_SIZE}


def test_tables_that_differ_by_ids_alone_share_what_is_large():
    one, other = (HeldTable.of(repeated((a, STEADY), (b, a), (a, STEADY))) for a, b in ((1, 2), (700, 3)))
    assert one.owners.pattern is other.owners.pattern
    assert one.previous.pattern is other.previous.pattern
    assert one != other


def test_ids_that_change_places_make_another_table():
    assert HeldTable.of(repeated((A, STEADY), (B, STEADY))) != HeldTable.of(repeated((B, STEADY), (A, STEADY)))


def test_vips_with_the_same_backends_and_weights_share_a_table_also_when_one_fails():
    here, there = (
        [WeightedBackend(f"192.0.2.{number}", first + number, 1 + number % 2) for number in range(9)]
        for first in (1, 500)
    )
    assert assign(here, {3}).pattern is assign(there, {502}).pattern
    assert assign(here, {3}).pattern is not assign(there, {503}).pattern
    renamed = build(here, {3}).astype(int) + 499
    assert np.array_equal(build(there, {502}), renamed)


def test_a_table_with_over_255_owners():
    backends = [WeightedBackend(f"192.0.{number // 256}.{number % 256}", number, 1) for number in range(1, 1001)]
    table = HeldTable.steady(assign(backends, {7}))
    assert table.named == set(range(1, 1001)) - {7}
    assert np.array_equal(table.slots, build(backends, {7}))


@pytest.mark.parametrize("kept", [frozenset[int](), frozenset({3}), frozenset({5})])
def test_hosts_that_fail_and_come_back_make_the_same_moves_in_all_vips(kept):
    backends = [[WeightedBackend(f"192.0.2.{number}", first + number, 1) for number in range(9)] for first in (1, 500)]
    tables = [HeldTable.steady(assign(each, frozenset())) for each in backends]
    for failed in ({3}, {3, 5}, {5}, set(), {5}, {3, 5}, set()):
        for vip, first in enumerate((1, 500)):
            out = frozenset(first + number for number in failed)
            gone = frozenset(first + number for number in failed - kept)
            owners = assign(backends[vip], out)
            expected = slots.move(tables[vip].slots, owners.owners, gone=gone)
            tables[vip] = tables[vip].move(owners, gone=gone)
            assert np.array_equal(tables[vip].slots, expected)
            assert tables[vip] == HeldTable.of(expected)
            assert tables[vip].counts == HeldTable.of(expected).counts
            assert tables[vip].named == HeldTable.of(expected).named
            assert np.array_equal(tables[vip].moving, np.flatnonzero(slots.is_moving(expected)))
        assert tables[0].previous.pattern is tables[1].previous.pattern


def test_previous_owners_at_other_places_are_not_mistaken():
    before = HeldTable.of(repeated((A, STEADY), (B, A), (A, B), (A, 9)))
    owners = Ownership.of(np.resize(np.array([A, A, B, B], np.uint16), TABLE_SIZE))
    assert before.owners.ids.tolist() == owners.ids.tolist() == before.previous.ids.tolist()[:-1]
    assert np.array_equal(before.move(owners).slots, slots.move(before.slots, owners.owners))


def test_a_move_is_that_of_its_slots():
    before = HeldTable.of(repeated((A, STEADY), (B, STEADY), (B, A), (A, PINNED)))
    owners = Ownership.of(np.full(TABLE_SIZE, C, np.uint16))
    for gone in (frozenset[int](), frozenset({A}), frozenset({A, B})):
        assert np.array_equal(before.move(owners, gone=gone).slots, slots.move(before.slots, owners.owners, gone=gone))
    lost = HeldTable.of(repeated((A, STEADY), (B, STEADY))).move(owners, gone=frozenset({A, B}))
    assert lost.is_steady


def test_tables_that_have_settled_move_together_again(monkeypatch: pytest.MonkeyPatch):
    """While nothing fails, all slots get steady. A host that fails then must still be one move for all VIPs."""
    backends = [[WeightedBackend(f"192.0.2.{number}", first + number, 1) for number in range(9)] for first in (1, 500)]
    tables = [HeldTable.steady(assign(each, frozenset())) for each in backends]
    slow: list[Slots] = []
    move = slots.move

    def noted(current: Slots, owners: Owners, *, gone: AbstractSet[int] = frozenset()) -> Slots:
        slow.append(current)
        return move(current, owners, gone=gone)

    monkeypatch.setattr(held_table, "move", noted)
    for failed in ({3}, {3, 5}, set[int]()):
        for step in ("move", "pin some", "move again", "pin", "release some", "move back", "pin", "release"):
            for vip, first in enumerate((1, 500)):
                before = tables[vip]
                out = failed if step in ("move", "move again") else {7}
                if "move" in step:
                    gone = frozenset(first + number for number in out)
                    owners = assign(backends[vip], gone)
                    expected = move(before.slots, owners.owners, gone=gone)
                    tables[vip] = before.move(owners, gone=gone)
                else:
                    change = slots.pin if "pin" in step else slots.release
                    expected = change(before.slots, np.arange(0, TABLE_SIZE, 3 if "some" in step else 1))
                    tables[vip] = before.settled(expected)
                assert np.array_equal(tables[vip].slots, expected)
                assert tables[vip] == HeldTable.of(expected)
                assert np.array_equal(tables[vip].moving, np.flatnonzero(slots.is_moving(expected)))
                assert np.array_equal(
                    tables[vip].moved_from(before),
                    np.flatnonzero(slots.is_moving(expected) & (before.owners.owners != tables[vip].owners.owners)),
                )
            assert tables[0].previous.pattern is tables[1].previous.pattern
            assert tables[0].owners.pattern is tables[1].owners.pattern
        assert all(table.is_steady for table in tables)
    assert slow == []


def test_a_table_that_was_read_moves_with_the_others_after_its_first_move(monkeypatch: pytest.MonkeyPatch):
    backends = [WeightedBackend(f"192.0.2.{number}", 9 - number, 1) for number in range(9)]
    one = HeldTable.steady(assign(backends, frozenset())).move(assign(backends, {3}))
    read = HeldTable.of(one.slots).move(assign(backends, {3, 4}))
    assert read == one.move(assign(backends, {3, 4}))
    monkeypatch.setattr(held_table, "move", None)
    again = assign(backends, {4})
    assert np.array_equal(read.move(again).slots, slots.move(read.slots, again.owners))


OTHERS = [
    [(1, STEADY), (2, STEADY), (1, 7), (2, PINNED), (NOBODY, 9)],  # differs by its ids alone
    [(1, STEADY), (2, STEADY), (1, STEADY), (2, PINNED), (NOBODY, 9)],
    [(1, 5), (2, 6), (1, 7), (2, 8), (NOBODY, 9)],  # has more previous owners
]


@pytest.mark.parametrize("gone", [frozenset[int](), frozenset({A}), frozenset({B}), frozenset({C})])
def test_a_table_that_is_read_back_and_moves_to_the_owners_it_has_stays_as_it_is(gone):
    made = repeated((B, STEADY), (A, STEADY), (B, A), (A, PINNED), (NOBODY, B))
    owners = Ownership.of(np.resize(np.array([B, A, B, A, NOBODY], np.uint16), TABLE_SIZE))
    other_ids = Ownership.of(np.full(TABLE_SIZE, C, np.uint16))
    like = [None, HeldTable.of(made), *(HeldTable.of(repeated(*pairs)) for pairs in OTHERS)]
    for likely, other in product((None, owners, other_ids), like):
        before = HeldTable.of(made, likely, other)
        assert np.array_equal(before.slots, made)
        assert before == HeldTable.of(made)
        after = before.move(owners, gone=gone)
        assert np.array_equal(after.slots, slots.move(made, owners.owners, gone=gone))
        assert after == HeldTable.of(after.slots)
