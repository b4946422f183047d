# SPDX-License-Identifier: Apache-2.0
"""Threads that are asked for a pulse."""

from __future__ import annotations

from collections.abc import Callable

from xdplb.control.writing.pulses import Pulses

LIMIT = 10.0


class Thread:
    """A thread that answers when a test says so."""

    def __init__(self, pulses: Pulses, name: str, *, vital: bool = True) -> None:
        self.asked: list[Callable[[], None]] = []
        pulses.watch(name, self.asked.append, "that is bad", vital=vital)

    def answer(self) -> None:
        while self.asked:
            self.asked.pop()()


class World:
    def __init__(self) -> None:
        self.now, self.used = 0.0, 0.0
        self.pulses = Pulses(lambda: self.now, lambda _: self.used)

    def after(self, seconds: float) -> bool:
        self.now += seconds
        return self.pulses.look(LIMIT)


def test_one_that_does_not_answer_hangs_until_it_does() -> None:
    world = World()
    one, other = Thread(world.pulses, "one"), Thread(world.pulses, "other")
    assert world.after(1)
    other.answer()
    assert world.after(9)
    assert not world.after(2)
    assert str(world.pulses.hangs["one"]) == "the one hangs, for 11 s now: that is bad"
    assert world.pulses.hangs.keys() == {"one"}
    assert len(one.asked) == 1, "it is not asked again and again"
    one.answer()
    assert world.after(1)
    assert world.pulses.hangs == {}


def test_one_that_is_not_vital_is_told_and_no_reason_to_restart() -> None:
    world = World()
    Thread(world.pulses, "disk", vital=False)
    world.after(1)
    assert world.after(11)
    assert world.pulses.hangs.keys() == {"disk"}


def test_one_that_computes_has_ten_times_as_long() -> None:
    world = World()
    Thread(world.pulses, "one")
    world.after(1)
    for _ in range(9):
        world.used += 5
        assert world.after(10)
    world.used += 5
    assert not world.after(20)


def test_after_all_stood_still_each_is_waited_for_anew() -> None:
    world = World()
    Thread(world.pulses, "one")
    world.after(1)
    world.now += 3600
    world.pulses.start_over()
    assert world.after(9)
    assert not world.after(2)


def test_one_that_has_ended_is_not_waited_for() -> None:
    world = World()

    def refuse(_: Callable[[], None]) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    world.pulses.watch("gone", refuse, "it is over")
    assert world.after(1)
    assert world.after(100)
