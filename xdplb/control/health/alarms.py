# SPDX-License-Identifier: Apache-2.0
"""Many alarms in one timer of the event loop.

A timer of asyncio for each would cost several times as much: its heap compares objects in Python, and each wakes the
loop on its own. Here alarms that come close together ring together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

__all__ = ["Alarm", "Alarms"]

Alarm = list[Any]
"""An alarm that was set, which is good for cancelling it: its time, a number, and what to call (None if cancelled)."""

_TOGETHER_SECONDS = 0.005
"""The least time from one ringing to the next. An alarm rings at most this much later than it would alone."""
_EARLY_SECONDS = 1e-6  # a timer of the loop may be early by the resolution of its clock
_MOST_CANCELLED = 1024


class Alarms:
    """Alarms by the clock of the event loop in which they are made."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        """`on_error` gets what an alarm raises; the others ring all the same."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        """The time of the loop's clock, in seconds."""
        self._on_error = on_error
        self._heap: list[Alarm] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_ringing = False
        self._rang_at = self._loop.time() - _TOGETHER_SECONDS

    def at(self, when: float, ring: Callable[[], object]) -> Alarm:
        """Call `ring` at the time `when` of the loop's clock, or soon if that is over."""
        alarm: Alarm = [when, next(self._numbers), ring]
        heappush(self._heap, alarm)
        if self._heap[0] is alarm and not self._is_ringing:
            self._set_timer()
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Let this alarm not ring. One that has rung may be cancelled too."""
        if alarm[2] is None:
            return
        alarm[2] = None
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED and 2 * self._cancelled > len(self._heap):
            self._heap[:] = [each for each in self._heap if each[2] is not None]
            heapify(self._heap)
            self._cancelled = 0

    def stop(self) -> None:
        """Cancel all alarms."""
        self._heap.clear()
        self._cancelled = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(max(self._heap[0][0], self._rang_at + _TOGETHER_SECONDS), self._ring)

    def _ring(self) -> None:
        self._timer, self._is_ringing = None, True
        self._rang_at = self._loop.time()
        until = self._rang_at + _EARLY_SECONDS
        try:
            while self._heap and self._heap[0][0] <= until:
                alarm = heappop(self._heap)
                ring, alarm[2] = alarm[2], None
                if ring is None:
                    self._cancelled -= 1
                    continue
                try:
                    ring()
                except Exception as error:
                    self._on_error(error)
        finally:
            self._is_ringing = False
            if self._heap:
                self._set_timer()
