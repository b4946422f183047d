# SPDX-License-Identifier: Apache-2.0
"""When neighbours are asked for anew: at the first sign of trouble, not too often, and not all at once."""

from __future__ import annotations

import math
from ipaddress import IPv4Address
from itertools import pairwise

from xdplb.net.doubts import Doubts, Unanswered
from xdplb.net.resolve import NeighbourKey
from xdplb.net.rtmessages import NeighbourState

KEY: NeighbourKey = (2, IPv4Address("10.0.0.11"))


def test_the_first_failure_asks_at_once() -> None:
    doubts = Doubts()
    assert doubts.due(0.0) == ([], math.inf)
    doubts.add(1.0, KEY, first=True)
    assert doubts.due(1.0)[0] == [KEY]
    assert doubts.due(1.2) == ([], math.inf)


def test_five_hundred_backends_behind_one_router_ask_once() -> None:
    doubts = Doubts()
    for step in range(500):
        doubts.add(step * 0.001, KEY, first=True)
    asked = [at for at in range(100) if doubts.due(0.5 + at * 0.1)[0]]
    assert asked == [0]


def test_five_hundred_on_the_segment_are_asked_within_a_second_and_not_at_once() -> None:
    doubts, now, batches = Doubts(), 10.0, []
    keys = [(2, IPv4Address(0x0A000000 + last)) for last in range(500)]
    for key in keys:
        doubts.add(now, key, first=True)
    while now < math.inf:
        batch, wake = doubts.due(now)
        assert wake > now
        batches.append((now, batch))
        now = wake
    assert [key for _, batch in batches for key in batch] == keys
    assert batches[-1][0] <= 11.0
    assert max(len(batch) for _, batch in batches) <= 50


def test_checks_that_go_on_failing_ask_ever_more_rarely() -> None:
    doubts, asked = Doubts(), []
    for second in range(0, 300, 2):
        doubts.add(second, KEY, first=second == 0)
        if doubts.due(second)[0]:
            asked.append(second)
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses[0] == 2
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_news_is_heard_while_another_check_of_the_same_neighbour_fails_for_hours() -> None:
    doubts = Doubts()
    for second in range(0, 300, 2):
        doubts.add(second, KEY, first=second == 0)
        doubts.due(second)
    doubts.add(299.5, KEY, first=True)
    assert doubts.due(299.5)[0] == [KEY]
    doubts.add(299.7, KEY, first=True)
    assert doubts.due(299.7) == ([], 300.5), "news within the second waits for its end"
    assert doubts.due(300.5)[0] == [KEY]


def test_a_neighbour_that_does_not_answer_the_kernel_is_asked_for_after_a_second() -> None:
    unanswered = Unanswered()
    unanswered.note(KEY, NeighbourState.PROBE)
    assert unanswered.due(5.0) == ([], 6.0)
    assert unanswered.due(6.0) == ([KEY], math.inf)
    unanswered.note(KEY, NeighbourState.PROBE)
    assert unanswered.due(7.0) == ([], 8.0)
    unanswered.note(KEY, NeighbourState.REACHABLE)
    assert unanswered.due(8.0) == ([], math.inf)
