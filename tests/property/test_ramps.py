# SPDX-License-Identifier: Apache-2.0
"""Slow start and backends in reserve: which slots move, for any backends, weights, failures and steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.ramp import Newcomer, parts_of
from xdplb.balance.rotation import rotation
from xdplb.balance.table import WeightedBackend, build
from xdplb.control.plan.slow_start import NO_RAMPS, newcomers, ramps_after

SECONDS = 4
STEPS = parts_of(SECONDS)


@st.composite
def ramps(draw: st.DrawFn) -> tuple[list[WeightedBackend], frozenset[int], dict[int, int]]:
    """Return backends, which are out, and by id at which step those that ramp up come."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=7))
    backends = [WeightedBackend(f"192.0.2.{number}", number, weight) for number, weight in enumerate(weights, 1)]
    ids = [backend.id for backend in backends]
    out = draw(st.frozensets(st.sampled_from(ids), max_size=2))
    coming = draw(st.dictionaries(st.sampled_from(ids), st.integers(0, 3), max_size=4))
    return backends, out, {number: step for number, step in coming.items() if number not in out}


def table_at(step: int, backends: list[WeightedBackend], out: frozenset[int], coming: dict[int, int]) -> np.ndarray:
    away = out | {number for number, since in coming.items() if since > step}
    ramps = NO_RAMPS
    for tick in range(step + 1):
        came = {number for number, since in coming.items() if since == tick}
        ramps = ramps_after(ramps, came, set(), tick, SECONDS)
    found = newcomers(ramps, step, SECONDS, out=away, serving=len(backends) - len(away))
    return build(backends, away, found)


@settings(max_examples=40, deadline=None)
@given(ramps())
def test_each_step_moves_only_slots_to_those_that_ramp_up(case):
    backends, out, coming = case
    tables = [table_at(step, backends, out, coming) for step in range(4 + STEPS)]
    for step, (before, after) in enumerate(pairwise(tables)):
        moved = np.flatnonzero(before != after)
        arrives = any(since == step + 1 for since in coming.values())
        if arrives and (out or any(since > step + 1 for since in coming.values())):
            continue  # slots of those that are out are shared out anew, as always when somebody comes up
        ramping = {number for number, since in coming.items() if since <= step + 1 < since + STEPS}
        assert set(after[moved].tolist()) <= ramping, f"step {step}"
    assert np.array_equal(tables[-1], build(backends, out))


@settings(max_examples=40, deadline=None)
@given(ramps(), st.integers(1, STEPS))
def test_one_that_ramps_up_owns_its_part_to_a_slot(case, granted):
    backends, out, coming = case
    serving = {backend.id for backend in backends} - out
    if not coming or not serving - coming.keys():
        return
    number = min(coming)
    whole = np.count_nonzero(build(backends, out) == number)
    part = np.count_nonzero(build(backends, out, [Newcomer(number, 0, granted, STEPS)]) == number)
    assert part == -(-whole * granted // STEPS)


@settings(max_examples=20, deadline=None)
@given(ramps(), st.integers(1, STEPS))
def test_those_that_come_together_with_nobody_else_there_have_their_whole_share(case, granted):
    backends, out, _ = case
    ids = frozenset(backend.id for backend in backends) - out
    everybody = newcomers({0: ids} if ids else NO_RAMPS, granted - 1, SECONDS, out=out, serving=len(ids))
    assert np.array_equal(build(backends, out, everybody), build(backends, out))
    turns = rotation(backends, out, weighted=True, newcomers=everybody)
    assert np.array_equal(turns, rotation(backends, out, weighted=True))


@settings(max_examples=40, deadline=None)
@given(ramps(), st.integers(1, STEPS), st.booleans())
def test_turns_are_fewer_while_ramping_up(case, granted, weighted):
    backends, out, coming = case
    serving = [backend for backend in backends if backend.id not in out]
    if not coming or not {backend.id for backend in serving} - coming.keys():
        return
    ramping = [Newcomer(number, 0, granted, STEPS) for number in coming]
    turns = np.bincount(rotation(backends, out, weighted=weighted, newcomers=ramping), minlength=9) / TABLE_SIZE
    weights = {backend.id: backend.weight if weighted else 1 for backend in serving}
    due = {number: weight * (granted / STEPS if number in coming else 1) for number, weight in weights.items()}
    for number, part in due.items():
        assert abs(turns[number] - part / sum(due.values())) < 0.002


@st.composite
def reserves(draw: st.DrawFn) -> tuple[list[WeightedBackend], list[WeightedBackend], frozenset[int]]:
    """Return backends, others in reserve, and which of the former are out."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    first = [WeightedBackend(f"192.0.2.{number}", number, weight) for number, weight in enumerate(weights, 1)]
    spare = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    second = [
        WeightedBackend(f"192.0.1.{number}", 50 + number, weight, in_reserve=True)
        for number, weight in enumerate(spare)
    ]
    return first, second, draw(st.frozensets(st.sampled_from([backend.id for backend in first])))


@settings(max_examples=40, deadline=None)
@given(reserves())
def test_one_in_reserve_makes_no_difference_until_it_is_used_and_then_takes_its_share(case):
    first, second, out = case
    idle = build(first + second, out | {backend.id for backend in second})
    assert np.array_equal(idle, build(first, out))
    used = build(second + first, out)
    moved = np.flatnonzero(used != idle)
    assert set(used[moved].tolist()) <= {backend.id for backend in second}
    serving = [backend for backend in first + second if backend.id not in out]
    total = sum(backend.weight for backend in serving)
    for backend in serving:
        owned = int(np.count_nonzero(used == backend.id))
        assert abs(owned - TABLE_SIZE * backend.weight / total) <= 2, backend
