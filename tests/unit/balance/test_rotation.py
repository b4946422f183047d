# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is, for schedulers that choose per connection."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.rotation import MAX_CANDIDATES, candidates, rotation
from xdplb.balance.table import WeightedBackend
from xdplb.model.errors import CapacityError

NOBODY_OUT: frozenset[int] = frozenset()


def backends(*weights: int) -> list[WeightedBackend]:
    """Backends a, b, c... with ids 1, 2, 3..."""
    return [WeightedBackend(chr(ord("a") + number), number + 1, weight) for number, weight in enumerate(weights)]


def turns(owners: np.ndarray, count: int) -> str:
    return "".join(chr(ord("a") + owner - 1) for owner in owners[:count].tolist())


def test_round_robin_names_each_in_turn_whatever_the_weights():
    owners = rotation(backends(5, 1, 3), NOBODY_OUT, weighted=False)
    assert owners.shape == (TABLE_SIZE,)
    assert owners.dtype == np.uint16
    assert turns(owners, 7) == "abcabca"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((5, 1, 1), "aabacaa"), ((4, 2), "abaaba"), ((2, 2, 2), "abcabc"), ((1, 2, 3), "cbacbc"), ((1,), "aaa")],
)
def test_weighted_round_robin_is_that_of_nginx(weights, expected):
    assert turns(rotation(backends(*weights), NOBODY_OUT, weighted=True), len(expected)) == expected


def test_those_out_and_those_of_weight_0_have_no_turn():
    owners = rotation(backends(1, 0, 1, 1), frozenset({3}), weighted=False)
    assert turns(owners, 4) == "adad"
    assert candidates(backends(1, 0, 1, 1), frozenset({3})) == 2


def test_nobody_has_turns_where_all_are_out():
    assert not rotation(backends(1, 0), frozenset({1}), weighted=True).any()
    assert not rotation([], NOBODY_OUT, weighted=False).any()
    assert candidates([], NOBODY_OUT) == 0


def test_a_round_longer_than_the_table_is_cut_and_still_fair():
    weights = (40000, 30000, 20001)
    counts = Counter(rotation(backends(*weights), NOBODY_OUT, weighted=True).tolist())
    for number, weight in enumerate(weights, 1):
        assert abs(counts[number] - weight * TABLE_SIZE / sum(weights)) < 1


def test_more_candidates_than_the_packet_path_compares_are_refused():
    many = [WeightedBackend(f"{number:03}", number, 1) for number in range(1, MAX_CANDIDATES + 2)]
    assert candidates(many, frozenset({1})) == MAX_CANDIDATES
    with pytest.raises(CapacityError, match="p2c"):
        candidates(many, NOBODY_OUT)
