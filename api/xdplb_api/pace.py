# SPDX-License-Identifier: Apache-2.0
"""The pace of the API's thread: it leaves the interpreter to the control loop for at least half of the time.

Python runs one thread at a time. While the API's thread has work without end, the control loop gets the interpreter
only after a wait at every system call that it makes, and a check makes a dozen. So under a flood it rests.
"""

from __future__ import annotations

import asyncio
import selectors
import time

__all__ = ["new_paced_loop"]

_SHARE = 0.5
_BURST_SECONDS = 0.05
"""CPU time that may be used at once: what a person or a scrape asks for is not slowed down."""

_MOST_DEBT_SECONDS = 0.25
_LONGEST_REST_SECONDS = 0.05


class _PacedSelector(selectors.DefaultSelector):
    """Waits for events, after a rest if the thread has used more CPU time than its share."""

    def __init__(self) -> None:
        super().__init__()
        self._debt, self._at, self._used = 0.0, time.monotonic(), time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, as any selector does."""
        at, used = time.monotonic(), time.thread_time()
        # The debt is a leaky bucket: CPU time fills it, and it empties at the rate of the share.
        debt = self._debt + (used - self._used) - _SHARE * (at - self._at)
        self._debt, self._at, self._used = min(max(0.0, debt), _MOST_DEBT_SECONDS), at, used
        if self._debt > _BURST_SECONDS:
            time.sleep(min((self._debt - _BURST_SECONDS) / _SHARE, _LONGEST_REST_SECONDS))
        return super().select(timeout)


def new_paced_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop for the calling thread that uses at most half of a core for long."""
    return asyncio.SelectorEventLoop(_PacedSelector())
