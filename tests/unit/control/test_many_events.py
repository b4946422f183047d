# SPDX-License-Identifier: Apache-2.0
"""A thousand events at once hold up neither the loop nor each other's order, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

from tests.fakes import until
from xdplb.control.events import Event, Events, HealthChanged
from xdplb.control.writing.many_events import ManyEvents


class Said:
    def __init__(self) -> None:
        events = Events()
        self.vips: list[str] = []
        self.many = ManyEvents(events)
        events.listen(self._note)

    def _note(self, event: Event) -> None:
        assert isinstance(event, HealthChanged)
        self.vips.append(event.vip)


def flips(first: int, count: int) -> Iterator[HealthChanged]:
    return (HealthChanged(str(number), "10.0.0.1", "down", "refused") for number in range(first, first + count))


def test_few_are_said_at_once_and_many_in_parts_in_order() -> None:
    async def run() -> None:
        said = Said()
        said.many.say(flips(0, 1))
        assert said.vips == ["0"]
        said.many.say(flips(1, 1000))
        said.many.say(flips(1001, 1))
        assert len(said.vips) == 9
        lengths = []
        for _ in range(5):
            lengths.append(len(said.vips))
            await asyncio.sleep(0.005)
        assert max(after - before for before, after in pairwise(lengths)) <= 64
        await until(lambda: len(said.vips) == 1002)
        assert said.vips == [str(number) for number in range(1002)]
        said.many.say(flips(5000, 1))
        assert said.vips[-1] == "5000"

    asyncio.run(run())


def test_what_is_left_is_said_at_the_end() -> None:
    async def run() -> None:
        said = Said()
        said.many.say(flips(0, 100))
        said.many.say(flips(100, 100))
        said.many.say_the_rest()
        assert said.vips == [str(number) for number in range(200)]
        await asyncio.sleep(0.02)
        assert len(said.vips) == 200

    asyncio.run(run())
