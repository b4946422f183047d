# SPDX-License-Identifier: Apache-2.0
"""When slots last moved: the same as told slot by slot, and kept once for VIPs whose slots moved together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import Slots, is_moving, pin
from xdplb.balance.table import WeightedBackend, assign
from xdplb.control.flows import settle
from xdplb.control.flows.settle import MoveTimes

IDLE = 60.0


def backends(first: int, count: int = 5) -> list[WeightedBackend]:
    return [WeightedBackend(f"10.0.0.{place}", first + place, 1) for place in range(count)]


class ByHand:
    """What `MoveTimes` tells, kept slot by slot."""

    def __init__(self) -> None:
        self.slots: Slots = np.zeros(TABLE_SIZE, np.uint32)
        self.times = np.zeros(TABLE_SIZE)

    def published(self, slots: Slots, now: float) -> None:
        stays = is_moving(self.slots) & (slots == self.slots)
        self.times = np.where(stays, self.times, np.ceil(now))
        self.slots = slots

    def over(self, now: float) -> list[int]:
        return np.flatnonzero(is_moving(self.slots) & (now - self.times > IDLE)).tolist()


@pytest.mark.parametrize("pinned_first", [False, True])
def test_the_times_are_those_of_each_slot(pinned_first: bool) -> None:
    times, by_hand = MoveTimes(), [ByHand() for _ in range(3)]
    tables = [HeldTable.steady(assign(backends(100 * vip), frozenset())) for vip in range(3)]
    now = 0.5
    for out in ({1}, {1, 2}, {2}, set[int](), {3}, {1, 3}):
        for vip in range(3):
            before = tables[vip]
            if pinned_first and vip and out == {2}:  # two of them have another history from here on
                before = HeldTable.of(pin(before.slots, before.moving[::2]))
                times.published(vip, tables[vip], before, now)
                by_hand[vip].published(before.slots, now)
            gone = frozenset(100 * vip + place for place in out)
            after = before.move(assign(backends(100 * vip), gone))
            times.published(vip, before, after, now)
            by_hand[vip].published(after.slots, now)
            tables[vip] = after
        for later in (now, now + 41, now + 59.4, now + 60.6, now + 100):
            for vip in range(3):
                found = times.pinned(vip, tables[vip], later, IDLE)
                over = by_hand[vip].over(later)
                assert (found is None) == (not over)
                assert found is None or np.array_equal(found.slots, pin(tables[vip].slots, np.array(over)))
        now += 20.25


def test_vips_whose_slots_move_together_share_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    moves_after: Callable[..., settle._Moves] = settle._moves_after
    monkeypatch.setattr(settle, "_moves_after", lambda *given: made.append(given[-1]) or moves_after(*given))  # type: ignore[func-returns-value]
    times = MoveTimes()
    tables = [HeldTable.steady(assign(backends(100 * vip), frozenset())) for vip in range(100)]
    for at, out in ((10.1, {1}), (20.1, {1, 2}), (30.1, {2})):
        for vip in range(100):  # each a little later than the one before, as in the parts of a failover
            gone = frozenset(100 * vip + place for place in out)
            after = tables[vip].move(assign(backends(100 * vip), gone))
            times.published(vip, tables[vip], after, at + vip / 1000)
            tables[vip] = after
    assert made == [11.0, 21.0, 31.0]
    assert len({id(moves) for moves in times._moves.values()}) == 1
