# SPDX-License-Identifier: Apache-2.0
"""The event loop of the control plane, which knows how long it was busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from selectors import EpollSelector, SelectorKey

__all__ = ["PAUSE_WINDOW_SECONDS", "ControlLoop", "longest_pause"]

PAUSE_WINDOW_SECONDS = 60.0
"""A pause is told for one to two of these."""


class _TimedSelector(EpollSelector):
    """Notes the longest time from the end of a wait to the beginning of the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._back_at = self._began = clock()
        self._longest = self._longest_before = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait as the base class does."""
        now = self._clock()
        if now - self._began >= PAUSE_WINDOW_SECONDS:
            self._longest_before, self._longest, self._began = self._longest, 0.0, now
        self._longest = max(self._longest, now - self._back_at)
        try:
            return super().select(timeout)
        finally:
            self._back_at = self._clock()

    def longest(self) -> float:
        """Return the longest of the last minute or two, in seconds."""
        return max(self._longest, self._longest_before)


class ControlLoop(asyncio.SelectorEventLoop):
    """An event loop with `longest_pause`."""

    def __init__(self) -> None:
        self._timed = _TimedSelector()
        super().__init__(self._timed)

    def longest_pause(self) -> float:
        """Return the longest time, in seconds, that all had to wait for one thing; in the last minute or two."""
        return self._timed.longest()


def longest_pause(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return how to ask a loop for its longest pause; for one that is no `ControlLoop` it is always 0."""
    return loop.longest_pause if isinstance(loop, ControlLoop) else lambda: 0.0
