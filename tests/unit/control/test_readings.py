# SPDX-License-Identifier: Apache-2.0
"""How much was counted in the last seconds, from few readings of the past."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xdplb.control.flows.readings import Readings


@given(
    st.lists(st.tuples(st.floats(1.0, 4000.0), st.integers(0, 1000)), min_size=1, max_size=60),
    st.floats(1.0, 20_000.0),
)
def test_no_less_is_told_than_came_and_not_much_more(steps: list[tuple[float, int]], seconds: float) -> None:
    readings = Readings()
    now, total = 0.0, 0
    history = [(now, total)]
    for wait, more in steps:
        now, total = now + wait, total + more
        readings.note({3: total}, now)
        history.append((now, total))
    told = readings.since(3, total, seconds, now)
    came = total - max((count for at, count in history if now - at >= seconds), default=0)
    assert came <= told <= total


def test_few_readings_are_kept_and_they_tell_of_hours() -> None:
    readings = Readings()
    for minute in range(24 * 60):
        readings.note({0: 60 * minute}, 60.0 * minute)
    assert len(readings._kept) < 25
    now, count = 60.0 * (24 * 60 - 1), 60 * (24 * 60 - 1)
    for seconds in (60, 900, 3600, 7200):
        assert seconds <= readings.since(0, count, seconds, now) <= 1.6 * seconds + 120
    assert readings.since(0, count, 36000, now) == count, "more than came is never too little"


def test_an_id_that_has_another_owner_begins_at_zero() -> None:
    readings = Readings()
    readings.note({1: 1000, 2: 1000}, 0.0)
    readings.forget([1])
    readings.note({1: 1500, 2: 700}, 60.0)  # that of 2 went down
    assert readings.since(1, 1500, 60, 60.0) == 1500
    assert readings.since(2, 700, 60, 60.0) == 700
    assert readings.since(9, 5, 60, 60.0) == 5
