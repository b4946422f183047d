# SPDX-License-Identifier: Apache-2.0
"""Saying a thousand events that come at once: the first ones now, the others in parts, so that nothing waits long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from xdplb.control.events import Event, Events

__all__ = ["ManyEvents"]

_AT_ONCE = 8
_A_PART = 32  # some 2 ms
_PAUSE_SECONDS = 0.005


class ManyEvents:
    """Says events in the order in which they were given. Used only in the event loop."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._waiting: deque[Iterator[Event]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def say(self, events: Iterable[Event]) -> None:
        """Say these, soon if there are many. They may be made only when they are said."""
        self._waiting.append(iter(events))
        if self._timer is None:
            self._say_some(_AT_ONCE)

    def say_the_rest(self) -> None:
        """Say now all that have not been said."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._say(self._waiting.popleft())

    def _say_some(self, most: int) -> None:
        self._timer = None
        some = list(islice(chain.from_iterable(self._waiting), most))
        self._say(some)
        if len(some) == most:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._say_some, _A_PART)
        else:
            self._waiting.clear()

    def _say(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.say(event)
