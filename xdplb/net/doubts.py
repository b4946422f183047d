# SPDX-License-Identifier: Apache-2.0
"""Which neighbours to ask for anew, because nothing comes back from what is behind them. Pure.

The kernel asks a neighbour that it has not heard of for a while, but at the MAC that it knows: if another machine has
the address now, that takes it 10 to 60 s. A check that gets no answer is a better sign, and sooner. Many checks may
fail at once, of many backends or of all that one router leads to, and some for hours. So each neighbour is asked for at
most once a second, ever more rarely while the same checks go on failing, and all of them at a bounded rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .resolve import NeighbourKey
from .rtmessages import NeighbourState

__all__ = ["Doubts", "Unanswered"]

_LEAST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_UNANSWERED_SECONDS = 1.0
_BATCH = 50
_BATCH_SECONDS = 0.1


@dataclass(slots=True)
class _Asked:
    """When a neighbour was asked for last, and for how long those that doubted it then are not listened to."""

    at: float
    pause: float


class Doubts:
    """The neighbours in doubt, in the order in which they came. Times in seconds."""

    def __init__(self) -> None:
        self._asked: dict[NeighbourKey, _Asked] = {}
        self._waiting: dict[NeighbourKey, float] = {}  # and from when on they may be asked for
        self._next_batch = -math.inf

    def add(self, now: float, key: NeighbourKey, *, first: bool) -> None:
        """Doubt a neighbour. `first`: what failed now had worked before, so that it is news."""
        asked = self._asked.get(key)
        if asked is None:
            self._waiting.setdefault(key, now)
        elif first:
            asked.pause = _LEAST_PAUSE_SECONDS
            self._waiting.setdefault(key, max(now, asked.at + _LEAST_PAUSE_SECONDS))
        elif now >= asked.at + asked.pause:
            asked.pause = min(2 * asked.pause, _LONGEST_PAUSE_SECONDS)
            self._waiting.setdefault(key, now)

    def due(self, now: float) -> tuple[list[NeighbourKey], float]:
        """Return the neighbours to ask for now, and the time (as `now`) to call again unless one is added."""
        batch: list[NeighbourKey] = []
        if now >= self._next_batch:
            batch = [key for key, begins in self._waiting.items() if begins <= now][:_BATCH]
        for key in batch:
            del self._waiting[key]
            asked = self._asked.get(key)
            self._asked[key] = _Asked(now, asked.pause if asked is not None else _LEAST_PAUSE_SECONDS)
        if batch:
            self._next_batch = now + _BATCH_SECONDS
            self._forget(now)
        return batch, max(self._next_batch, min(self._waiting.values(), default=math.inf))

    def _forget(self, now: float) -> None:
        """Forget neighbours that were not doubted for long."""
        old = now - 2 * _LONGEST_PAUSE_SECONDS
        self._asked = {key: asked for key, asked in self._asked.items() if asked.at > old}


class Unanswered:
    """The neighbours that the kernel asks at the MAC that it knows, and that do not answer. Times in seconds.

    It does so three times, a second apart, and then has no MAC until everybody was asked: packets would lose their way
    in between. To ask everybody after the first second finds another MAC before that.
    """

    def __init__(self) -> None:
        self._new: set[NeighbourKey] = set()
        self._since: dict[NeighbourKey, float] = {}

    def note(self, key: NeighbourKey, state: NeighbourState) -> None:
        """Note the state that the kernel tells of."""
        if state & NeighbourState.PROBE:
            self._new.add(key)
        else:
            self._new.discard(key)
            self._since.pop(key, None)

    def due(self, now: float) -> tuple[list[NeighbourKey], float]:
        """Return those that have not answered for a second, and the time (as `now`) to call again."""
        for key in self._new:
            self._since.setdefault(key, now)
        self._new.clear()
        silent = [key for key, since in self._since.items() if now >= since + _UNANSWERED_SECONDS]
        for key in silent:
            del self._since[key]
        return silent, min(self._since.values(), default=math.inf) + _UNANSWERED_SECONDS
