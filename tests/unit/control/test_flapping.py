# SPDX-License-Identifier: Apache-2.0
"""Flap damping: who goes down again and again is held down, for longer the more it does, and never for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from xdplb.control.health.flap_book import FlapBook
from xdplb.control.health.flapping import HALF_LIFE, MOST, Flapping, fallen

START = datetime(2030, 1, 1, tzinfo=UTC)


def after(*pauses: float) -> tuple[Flapping, datetime]:
    """Return how it stands with a backend that went down after each of these pauses, and when it last did."""
    now, found = START, fallen(None, START)
    for pause in pauses:
        now += timedelta(seconds=pause)
        found = fallen(found, now)
    return found, now


@pytest.mark.parametrize(
    ("pauses", "held_seconds"),
    [
        ([], None),
        ([10] * 3, None),  # four times in half a minute
        ([10] * 4, 60),
        ([10] * 30, 129),  # it goes on, and is held longer
        ([60] * 100, None),  # every minute for hours
        ([0.1] * 1000, 300),  # no longer than that
        ([10] * 4 + [600], None),  # long ago
    ],
)
def test_how_long_it_is_held(pauses: list[float], held_seconds: float | None) -> None:
    found, now = after(*pauses)
    if held_seconds is None:
        assert found.hold is None
    else:
        assert found.hold is not None
        assert found.hold.left(now) == pytest.approx(held_seconds, abs=1)


def test_it_says_how_often_it_went_down_and_in_how_long() -> None:
    found, _ = after(*[10] * 4)
    assert found.hold is not None
    assert found.hold.why == "it went down 5 times in 40 s"
    found, _ = after(*[10] * 18)
    assert found.hold is not None
    assert found.hold.why == "it went down 19 times in 3 min"


@given(some.lists(some.floats(0.01, 400), max_size=60))
def test_no_hold_is_longer_than_the_most(pauses: list[float]) -> None:
    found, now = after(*pauses)
    assert found.hold is None or found.hold.until - now <= MOST + timedelta(seconds=1)
    assert found.falls <= len(pauses) + 1


def test_who_is_held_and_goes_down_again_is_held_from_then_on() -> None:
    found, now = after(*[10] * 4)
    assert found.hold is not None
    again = fallen(found, now + timedelta(seconds=50))
    assert again.hold is not None
    assert again.hold.until > found.hold.until


def test_the_book_tells_once_who_is_held_and_who_no_more() -> None:
    now = START
    book = FlapBook(lambda: now)
    told = []
    for _ in range(8):
        told.append(list(book.fell([1, 2])))
        now += timedelta(seconds=10)
    assert told == [[], [], [], [], [1, 2], [], [], []]
    book.fell([3])
    assert sorted(book.holds) == [1, 2]
    assert (book.over(), book.forget([2, 3])) == ([], [2])
    now += 10 * HALF_LIFE
    assert book.over() == [1]
    assert (book.holds, book.over()) == ({}, [])
