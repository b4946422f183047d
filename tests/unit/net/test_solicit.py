# SPDX-License-Identifier: Apache-2.0
"""When a neighbour is asked for: at once, then ever slower; a stale one now and then; a sure one not at all."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from xdplb.net.resolve import NeighbourKey
from xdplb.net.rtmessages import Neighbour, NeighbourState
from xdplb.net.solicit import SolicitSchedule

KEY: NeighbourKey = (2, IPv4Address("10.0.0.11"))


class Kernel:
    """A schedule driven to whenever it wants to be woken, with the neighbour in a state of the test's choice."""

    def __init__(self) -> None:
        self.schedule = SolicitSchedule()
        self.now = 1000.0
        self.state = NeighbourState.NONE

    def solicitations(self, seconds: float) -> list[float]:
        """Return the times of the solicitations within the next seconds."""
        times: list[float] = []
        start = self.now
        while self.now <= start + seconds:
            table = {KEY: Neighbour(*KEY, self.state, None)}
            due, wake = self.schedule.due(self.now, [KEY], table)
            assert wake > self.now
            times += [self.now - start] if due else []
            self.now = wake
        return times


def test_an_unknown_neighbour_is_asked_for_at_once_and_then_ever_slower() -> None:
    times = Kernel().solicitations(120)
    pauses = [after - before for before, after in pairwise(times)]
    assert times[0] == 0
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10


@pytest.mark.parametrize("state", [NeighbourState.REACHABLE, NeighbourState.PERMANENT, NeighbourState.PROBE])
def test_a_sure_neighbour_is_not_asked_for(state: NeighbourState) -> None:
    kernel = Kernel()
    kernel.state = state
    assert kernel.solicitations(120) == []


def test_a_stale_neighbour_is_asked_for_now_and_then() -> None:
    kernel = Kernel()
    kernel.state = NeighbourState.STALE
    assert kernel.solicitations(50) == [0, 15, 30, 45]


def test_one_that_was_just_found_is_left_alone_and_one_just_lost_is_asked_for_at_once() -> None:
    kernel = Kernel()
    kernel.solicitations(60)
    kernel.state = NeighbourState.STALE
    found = kernel.now
    assert kernel.solicitations(14) == []
    kernel.now = found + 14.5
    kernel.state = NeighbourState.FAILED
    assert kernel.solicitations(0.3) == [0, 0.25]
