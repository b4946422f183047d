# SPDX-License-Identifier: Apache-2.0
"""What agents say becomes weights in steps, at a pace that the tables can follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from xdplb.control.health.advising import CALM, Advised, advised
from xdplb.control.health.probes.result import AdminWord
from xdplb.control.health.probes.result import AgentWord as Said
from xdplb.model.advice import PARTS, Advice
from xdplb.model.backend import AdminState

START = datetime(2030, 1, 1, tzinfo=UTC)
NOTHING_YET = Advised(Advice(), START - CALM)
TO_DRAIN, TO_MAINT, TO_READY = AdminWord.DRAIN, AdminWord.MAINT, AdminWord.READY
DRAIN, MAINT, READY = AdminState.DRAIN, AdminState.MAINT, AdminState.READY


def heard(*said: Said, every: float = 60) -> list[Advice]:
    """Return the advice that counts after each of these, which are said `every` so many seconds."""
    found: list[Advice] = []
    present = NOTHING_YET
    for number, each in enumerate(said):
        present = advised(present, each, START + timedelta(seconds=number * every))
        found.append(present.advice)
    return found


@pytest.mark.parametrize(
    ("percents", "counted"),
    [
        ([75, 74, 76, 73, 77, 79, 71], [75] * 7),
        ([74, 76, 80, 79, 81], [75, 75, 80, 80, 80]),
        ([75, 98, 100, 96], [75, 100, 100, 100]),
        ([0, 1, 2, 0], [0, 5, 5, 0]),
        ([3, 0], [5, 0]),
        ([250, 248, 10_000], [250, 250, 10_000]),
    ],
)
def test_a_percentage_counts_in_steps_and_jitter_does_not(percents: list[int], counted: list[int]) -> None:
    assert [advice.percent for advice in heard(*(Said(percent=each) for each in percents))] == counted


def test_less_counts_at_once_and_more_when_it_has_been_calm() -> None:
    said = [
        Said(percent=100),
        Said(percent=50),
        Said(percent=100),
        Said(percent=20),
        Said(percent=100),
    ]
    assert [advice.percent for advice in heard(*said, every=1)] == [100, 50, 50, 20, 20]
    assert heard(*said, *[said[-1]] * 12, every=1)[-1].percent == 100
    assert [advice.percent for advice in heard(*said, every=CALM.total_seconds())] == [100, 50, 100, 20, 100]


def test_a_drain_counts_at_once_and_its_end_when_it_has_been_calm() -> None:
    said = [
        Said(admin=TO_DRAIN),
        Said(admin=TO_READY),
        Said(admin=TO_MAINT),
        Said(admin=TO_DRAIN),
    ]
    assert [advice.admin for advice in heard(*said, every=1)] == [DRAIN, DRAIN, MAINT, MAINT]
    assert [advice.admin for advice in heard(*said)] == [DRAIN, READY, MAINT, DRAIN]


def test_what_is_not_mentioned_stays() -> None:
    found = heard(
        Said(percent=50),
        Said(admin=TO_DRAIN),
        Said(),
        Said(admin=TO_READY),
        Said(weight=7),
        Said(percent=100),
    )
    assert found == [
        Advice(50),
        Advice(50, None, DRAIN),
        Advice(50, None, DRAIN),
        Advice(50),
        Advice(None, 7),
        Advice(100),
    ]


@pytest.mark.parametrize(("weights", "counted"), [([100, 103, 97, 105, 0, 1, 2], [100, 100, 100, 105, 0, 1, 2])])
def test_a_weight_counts_if_it_is_a_step_away(weights: list[int], counted: list[int]) -> None:
    assert [advice.weight for advice in heard(*(Said(weight=each) for each in weights))] == counted


@pytest.mark.parametrize(
    ("advice", "configured", "parts"),
    [
        (Advice(), 1, PARTS),
        (Advice(75), 1, 15),
        (Advice(5), 1, 1),
        (Advice(0), 65535, 0),
        (Advice(10_000), 65535, 65535 * PARTS),
        (Advice(None, 253), 4, 253 * PARTS),
        (Advice(50), 0, 0),
    ],
)
def test_the_parts_of_a_weight(advice: Advice, configured: int, parts: int) -> None:
    assert advice.parts_of(configured) == parts


def test_advice_is_told_in_words() -> None:
    told = [str(each) for each in (Advice(), Advice(75), Advice(None, 3), Advice(0, None, DRAIN), Advice(admin=MAINT))]
    assert told == [
        "its agent says ready",
        "its agent says 75 %",
        "its check says weight 3",
        "its agent says drain and 0 %",
        "its agent says maint",
    ]


@given(some.lists(some.tuples(some.floats(0.1, 20), some.integers(0, 120)), max_size=60))
def test_load_comes_back_no_more_often_than_every_few_seconds(said: list[tuple[float, int]]) -> None:
    now, present = START, advised(NOTHING_YET, Said(percent=100), START)
    for pause, percent in said:
        now += timedelta(seconds=pause)
        after = advised(present, Said(percent=percent), now)
        if after.advice.parts_of(100) > present.advice.parts_of(100):
            assert now - present.since >= CALM
        present = after
