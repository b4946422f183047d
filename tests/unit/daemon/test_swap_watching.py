# SPDX-License-Identifier: Apache-2.0
"""What the daemon says of a program that was swapped in, and how long it waits with its own work."""

from __future__ import annotations

import time

import pytest

from xdplb.control.events import Event, ProgramKept, ProgramRolledBack, SwapNotWatched
from xdplb.daemon import swap_watching
from xdplb.daemon.swap_watching import watched
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import SwapState
from xdplb.dataplane.spans import SENT, Span
from xdplb.model.errors import PlatformError

BEFORE, AFTER = Span(3.0, {SENT: 3000}), Span(5.04, {SENT: 5000})
ALONE, BESIDE = SwapState(BEFORE, AFTER, alone=True), SwapState(BEFORE, AFTER)
KEPT, WORSE = SwapState(BEFORE, AFTER, is_over=True), SwapState(BEFORE, AFTER, is_over=True, worse="more drops")


def said(plane: FakePlane, *, at_the_start: int) -> list[Event]:
    """Return what is said in all; by the start of the block, `at_the_start` states must have been looked at."""
    events: list[Event] = []
    count = len(plane.swap_states)
    with watched(plane, events.append):
        assert count - len(plane.swap_states) >= at_the_start
        end = time.monotonic() + 5
        while plane.swap_states and time.monotonic() < end:
            time.sleep(0.005)
    return events


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap_watching, "_STEP_SECONDS", 0.005)


@pytest.mark.parametrize(
    ("states", "at_the_start", "event"),
    [
        ([], 0, None),
        ([ALONE, ALONE, BESIDE, BESIDE, KEPT], 3, ProgramKept(5.0, 5000, 3000)),
        ([ALONE, WORSE], 2, ProgramRolledBack("more drops")),
        ([BESIDE, WORSE], 1, ProgramRolledBack("more drops")),
        ([KEPT], 1, ProgramKept(5.0, 5000, 3000)),
    ],
    ids=["nothing to watch", "kept", "rolled back before the daemon works", "and after", "over at once"],
)
def test_what_came_out_is_said_once(states: list[SwapState], at_the_start: int, event: Event | None) -> None:
    plane = FakePlane()
    plane.swap_states = list(states)
    assert said(plane, at_the_start=at_the_start) == ([] if event is None else [event])


def test_what_a_start_has_rolled_back_for_a_daemon_that_was_killed_is_said() -> None:
    plane = FakePlane()
    plane.rolled_back = "more drops"
    assert said(plane, at_the_start=0) == [ProgramRolledBack("more drops")]


def test_a_daemon_that_stops_leaves_the_rest_to_the_next_one() -> None:
    plane, events = FakePlane(), list[Event]()
    plane.swap_states = [BESIDE] * 100_000
    with watched(plane, events.append):
        pass
    assert events == []
    assert plane.swap_states


def test_what_cannot_be_watched_is_said() -> None:
    plane = FakePlane()
    plane.fail("watch_swap", PlatformError("the maps are gone"))
    assert said(plane, at_the_start=0) == [SwapNotWatched("the maps are gone")]
