# SPDX-License-Identifier: Apache-2.0
"""The rules by which slots move, one test each. Owners are A, B, C; a table of test slots repeats one slot."""

from __future__ import annotations

import numpy as np
import pytest

from xdplb.balance.slots import (
    NOBODY,
    PINNED,
    STEADY,
    find_settled,
    move,
    pack,
    pin,
    pin_all,
    release,
    unpack,
)

A, B, C = 1, 2, 3


def slots_of(*pairs: tuple[int, int]) -> np.ndarray:
    owners, previous = np.array(pairs, np.uint16).reshape(-1, 2).T
    return pack(owners, previous)


def pairs_of(slots: np.ndarray) -> list[tuple[int, int]]:
    owners, previous = unpack(slots)
    return list(zip(owners.tolist(), previous.tolist(), strict=True))


def moved(before: tuple[int, int], owner: int, gone: frozenset[int] = frozenset()) -> tuple[int, int]:
    """Return what becomes of one slot."""
    return pairs_of(move(slots_of(before), np.array([owner], np.uint16), gone=gone))[0]


def test_a_slot_is_what_the_program_reads():
    assert slots_of((A, STEADY), (A, B), (A, PINNED)).tolist() == [0x0000_0001, 0x0002_0001, 0xFFFF_0001]


@pytest.mark.parametrize("previous", [STEADY, PINNED, B])
def test_a_slot_that_keeps_its_owner_stays_as_it_is(previous):
    assert moved((A, previous), A) == (A, previous)


def test_a_steady_slot_that_moves_keeps_its_owner_as_previous():
    assert moved((A, STEADY), B) == (B, A)


def test_a_steady_slot_of_a_backend_out_at_once_moves_without_previous():
    assert moved((A, STEADY), B, gone=frozenset({A})) == (B, STEADY)


def test_a_slot_of_nobody_moves_without_previous():
    assert moved((NOBODY, STEADY), B) == (B, STEADY)


def test_a_moving_slot_that_moves_again_keeps_its_oldest_previous():
    assert moved((B, A), C) == (C, A)


def test_a_moving_slot_keeps_its_previous_when_its_owner_is_out_at_once():
    assert moved((B, A), C, gone=frozenset({B})) == (C, A)


def test_a_moving_slot_that_goes_back_is_still_moving():
    assert moved((B, A), A) == (A, A)


def test_a_moving_slot_whose_previous_is_out_at_once_is_pinned():
    assert moved((B, A), B, gone=frozenset({A})) == (B, PINNED)


def test_a_moving_slot_whose_owner_and_previous_are_out_at_once_is_pinned():
    assert moved((B, A), C, gone=frozenset({A, B})) == (C, PINNED)


def test_a_pinned_slot_that_moves_gets_the_owner_it_had_as_previous():
    assert moved((B, PINNED), C) == (C, B)


def test_a_pinned_slot_of_a_backend_out_at_once_stays_pinned():
    assert moved((B, PINNED), C, gone=frozenset({B})) == (C, PINNED)


def test_a_pinned_slot_of_nobody_stays_pinned():
    assert moved((NOBODY, PINNED), C) == (C, PINNED)


def test_a_slot_that_loses_its_last_backend_by_a_drain_keeps_it_as_previous():
    assert moved((A, STEADY), NOBODY) == (NOBODY, A)


def test_a_slot_that_loses_its_last_backend_at_once_is_nobodys():
    assert moved((A, STEADY), NOBODY, gone=frozenset({A})) == (NOBODY, STEADY)


def test_moving_leaves_what_it_was_given_alone():
    before = slots_of((A, STEADY), (B, A))
    move(before, np.array([C, C], np.uint16), gone=frozenset({A}))
    assert pairs_of(before) == [(A, STEADY), (B, A)]


def test_of_the_slots_chosen_those_that_move_are_pinned():
    before = slots_of((B, A), (B, A), (B, STEADY), (B, PINNED))
    assert pairs_of(pin(before, np.array([0, 2, 3]))) == [(B, PINNED), (B, A), (B, STEADY), (B, PINNED)]


def settled(slots: np.ndarray, *records: tuple[int, int, bool]) -> list[int]:
    columns = np.array(records, np.int64).reshape(-1, 3)
    return find_settled(slots, columns[:, 0], columns[:, 1].astype(np.uint16), columns[:, 2].astype(bool)).tolist()


def test_a_pinned_slot_without_records_has_settled():
    assert settled(slots_of((A, PINNED), (A, STEADY), (A, B))) == [0]


def test_a_live_record_of_another_backend_keeps_a_slot_pinned():
    assert settled(slots_of((A, PINNED), (A, PINNED)), (0, B, True)) == [1]


def test_a_live_record_of_the_owner_does_not_keep_a_slot_pinned():
    assert settled(slots_of((A, PINNED)), (0, A, True)) == [0]


def test_an_ended_record_does_not_keep_a_slot_pinned():
    assert settled(slots_of((A, PINNED)), (0, B, False), (0, A, True)) == [0]


def test_one_live_record_of_many_keeps_a_slot_pinned():
    assert settled(slots_of((A, PINNED)), (0, A, True), (0, B, True), (0, B, False)) == []


def test_released_slots_are_steady_and_others_as_they_were():
    before = slots_of((A, PINNED), (A, PINNED), (A, B))
    assert pairs_of(release(before, np.array([0]))) == [(A, STEADY), (A, PINNED), (A, B)]


def test_a_slot_that_moved_since_it_was_found_settled_is_not_released():
    before = slots_of((C, A), (A, PINNED))
    assert pairs_of(release(before, np.array([0, 1]))) == [(C, A), (A, STEADY)]


def test_a_vip_that_stops_recording_has_all_steady_slots_pinned():
    assert pairs_of(pin_all(slots_of((A, STEADY), (B, A), (C, PINNED)))) == [(A, PINNED), (B, A), (C, PINNED)]
