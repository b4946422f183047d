# SPDX-License-Identifier: Apache-2.0
"""Weights, refill and stability of the table."""

from __future__ import annotations

import numpy as np
import pytest

from xdplb.balance import table
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.table import WeightedBackend, build


def backends(*weights: int) -> list[WeightedBackend]:
    return [
        WeightedBackend(f"10.0.{place // 256}.{place % 256}", place, weight) for place, weight in enumerate(weights, 1)
    ]


def owned(owners: np.ndarray) -> dict[int, int]:
    ids, counts = np.unique(owners, return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def test_one_to_three_is_one_to_three_within_a_slot():
    counts = owned(build(backends(1, 3), frozenset()))
    assert sum(counts.values()) == TABLE_SIZE
    assert abs(counts[1] - TABLE_SIZE / 4) < 1
    assert abs(counts[2] - TABLE_SIZE * 3 / 4) < 1


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (65535, 1), (7, 11, 13, 17, 19), (1,) * 999, (65535,) * 5])
def test_each_weight_is_honoured_within_a_slot(weights):
    counts = owned(build(backends(*weights), frozenset()))
    for place, weight in enumerate(weights, 1):
        assert abs(counts.get(place, 0) - TABLE_SIZE * weight / sum(weights)) < 1


def test_weight_0_owns_nothing():
    assert owned(build(backends(1, 0), frozenset())) == {1: TABLE_SIZE}


@pytest.mark.parametrize(("configured", "out"), [([], set()), (backends(0, 0), set()), (backends(1, 2), {1, 2})])
def test_nobody_owns_the_slots_when_no_backend_can(configured, out):
    assert owned(build(configured, out)) == {0: TABLE_SIZE}


def test_neither_order_nor_ids_make_a_difference():
    configured = backends(1, 2, 3)
    owners = build(configured, {2})
    assert np.array_equal(build(configured[::-1], {2}), owners)
    renamed = [WeightedBackend(b.key, b.id * 100, b.weight) for b in configured]
    assert np.array_equal(build(renamed, {200}), owners * np.uint16(100))


def test_the_table_is_the_same_today_as_on_every_other_balancer():
    owners = build(backends(1, 2, 3), frozenset())
    assert owners[:16].tolist() == [3, 2, 1, 2, 3, 3, 3, 2, 2, 2, 2, 2, 3, 1, 1, 3]
    assert build(backends(1, 2, 3), {3})[:16].tolist() == [2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]


def test_a_backend_that_is_out_gives_its_slots_and_no_others():
    configured = backends(*(1,) * 20)
    base, refilled = build(configured, frozenset()), build(configured, {7})
    assert 7 not in refilled
    assert np.array_equal(base != refilled, base == 7)


def test_the_base_table_is_back_bit_for_bit():
    configured = backends(5, 1, 3)
    base = build(configured, frozenset()).copy()
    build(configured, {1})
    build(configured, {1, 2})
    assert np.array_equal(build(configured, frozenset()), base)


def test_the_result_does_not_share_memory_with_the_next():
    configured = backends(1, 1)
    build(configured, frozenset())[:] = 9
    assert 9 not in build(configured, frozenset())


@pytest.mark.parametrize("out", [{1}, {2}, {1, 3}, set(range(1, 40))])
def test_weights_are_honoured_among_those_left(out):
    weights = [1 + place % 5 for place in range(50)]
    counts = owned(build(backends(*weights), out))
    left = sum(weight for place, weight in enumerate(weights, 1) if place not in out)
    for place, weight in enumerate(weights, 1):
        expected = 0 if place in out else TABLE_SIZE * weight / left
        assert abs(counts.get(place, 0) - expected) < 2  # what base slots are worth it keeps


def test_a_large_and_many_small_weights_are_honoured_when_one_fails():
    weights = [1000, *(1,) * 500]
    counts = owned(build(backends(*weights), {17}))
    assert abs(counts[1] - TABLE_SIZE * 1000 / 1499) < 2


def test_a_backend_added_takes_little_more_than_its_part():
    before, after = build(backends(*(1,) * 100), frozenset()), build(backends(*(1,) * 101), frozenset())
    moved_among_others = np.count_nonzero((before != after) & (after != 101))
    assert moved_among_others / TABLE_SIZE < 0.02


def test_keys_are_unique():
    with pytest.raises(ValueError, match="same key"):
        build([WeightedBackend("10.0.0.1", 1, 1), WeightedBackend("10.0.0.1", 2, 1)], frozenset())


def test_the_base_table_is_maglevs():
    """Against the algorithm of the paper, written down as it stands there, for equal weights."""
    configured = backends(1, 1, 1, 1, 1)
    permutations = [table._permutation(backend.key) for backend in configured]
    nexts = [0] * 5
    entry = [0] * TABLE_SIZE
    filled = 0
    while True:
        for place, (offset, skip) in enumerate(permutations):
            while True:
                candidate = (offset + nexts[place] * skip) % TABLE_SIZE
                nexts[place] += 1
                if not entry[candidate]:
                    break
            entry[candidate] = place + 1
            filled += 1
            if filled == TABLE_SIZE:
                assert build(configured, frozenset()).tolist() == entry
                return
