# SPDX-License-Identifier: Apache-2.0
"""The table, and the order of turns, for any backends, weights and failures."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.balance import compiled, fill, pattern, slots, table
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.rotation import candidates, rotation
from xdplb.balance.table import WeightedBackend, build

WEIGHTS = st.lists(st.integers(0, 5) | st.integers(0, 65535), max_size=12)
CASES = st.builds(
    lambda weights, out: (
        [WeightedBackend(f"192.0.2.{n}", n, weight) for n, weight in enumerate(weights, 1)],
        frozenset(n for n in out if n <= len(weights)),
    ),
    WEIGHTS,
    st.sets(st.integers(1, 12)),
)


def forget_tables() -> None:
    table._base.cache_clear()
    table._places.cache_clear()
    table._pattern.cache_clear()


def owned(owners: np.ndarray, backend: WeightedBackend) -> int:
    return int(np.count_nonzero(owners == backend.id))


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_weights_are_honoured_within_a_slot(case):
    backends, _ = case
    owners, total = build(backends, frozenset()), sum(backend.weight for backend in backends)
    for backend in backends:
        assert abs(owned(owners, backend) * total - TABLE_SIZE * backend.weight) < max(total, 1)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_only_the_slots_of_those_out_change_and_none_is_left_empty(case):
    backends, out = case
    base, refilled = build(backends, frozenset()), build(backends, out)
    assert np.array_equal(base != refilled, np.isin(base, list(out)))
    can_serve = any(backend.weight and backend.id not in out for backend in backends)
    assert (0 in refilled) is not can_serve


@settings(max_examples=25, deadline=None)
@given(CASES, st.randoms(use_true_random=False))
def test_neither_order_nor_ids_nor_what_was_built_before_make_a_difference(case, rng: random.Random):
    backends, out = case
    expected = build(backends, out)
    new_ids = dict(zip(range(1, 13), rng.sample(range(1, 60000), 12), strict=True))
    shuffled = rng.sample([WeightedBackend(b.key, new_ids[b.id], b.weight) for b in backends], len(backends))
    forget_tables()
    renamed = np.array([0, *new_ids.values()], np.uint16)[expected]
    assert np.array_equal(build(shuffled, {new_ids[number] for number in out}), renamed)


@settings(max_examples=25, deadline=None)
@given(CASES)
def test_c_and_python_fill_the_same_slots(case):
    backends, out = case
    assert compiled.IS_COMPILED, "xdplb was installed without a C compiler"
    expected = build(backends, out)
    forget_tables()
    with pytest.MonkeyPatch.context() as patch:
        for module in (fill, pattern):
            patch.setattr(module, "LOOPS", None)
        assert np.array_equal(build(backends, out), expected)
    forget_tables()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-(1 << 50), 1 << 50), min_size=1, max_size=60),
    st.integers(1, 1 << 40),
)
def test_c_and_python_give_turns_to_the_same_backends(lacks, total):
    given_ = np.array(lacks), np.arange(len(lacks)), total, 500
    turns = fill.turns_least_loaded(*given_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill, "LOOPS", None)
        assert np.array_equal(fill.turns_least_loaded(*given_), turns)


IDS = st.sampled_from([0, 1, 2, 3, 700, 0xFFFE])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(IDS, IDS | st.just(slots.PINNED), IDS), min_size=1, max_size=50),
    st.sets(IDS.filter(bool)),
)
def test_c_and_numpy_move_slots_alike(rows, gone):
    owners, previous, new = np.array(rows, np.uint16).T
    current = slots.pack(owners, previous)
    moved = slots.move(current, new, gone=gone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "LOOPS", None)
        assert np.array_equal(slots.move(current, new, gone=gone), moved)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_the_first_slots_name_each_backend_that_may_be_chosen_once(case):
    backends, out = case
    owners, count = rotation(backends, out, weighted=False), candidates(backends, out)
    eligible = {backend.id for backend in backends if backend.weight and backend.id not in out}
    assert sorted(owners[:count].tolist()) == sorted(eligible)
    assert set(owners.tolist()) == (eligible or {0})
    assert np.array_equal(owners[count:], owners[: TABLE_SIZE - count])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 300))
def test_turns_by_weight_are_never_far_from_the_weights(weights, turns):
    backends = [WeightedBackend(f"192.0.2.{number}", number, weight) for number, weight in enumerate(weights, 1)]
    owners, total = rotation(backends, frozenset(), weighted=True), sum(weights)
    for backend in backends:
        assert owned(owners[:total], backend) == backend.weight
        assert abs(owned(owners[:turns], backend) - turns * backend.weight / total) < len(weights)


@settings(max_examples=25, deadline=None)
@given(CASES, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_turns_depends_on_keys_and_weights_alone(case, weighted, rng: random.Random):
    backends, out = case
    new_ids = dict(zip(range(1, 13), rng.sample(range(1, 60000), 12), strict=True))
    shuffled = rng.sample([WeightedBackend(b.key, new_ids[b.id], b.weight) for b in backends], len(backends))
    renamed = np.array([0, *new_ids.values()], np.uint16)[rotation(backends, out, weighted=weighted)]
    assert np.array_equal(rotation(shuffled, {new_ids[number] for number in out}, weighted=weighted), renamed)
