# SPDX-License-Identifier: Apache-2.0
"""Events of the daemon's own threads."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = ["ThreadGoesOn", "ThreadHangs"]


@dataclass(frozen=True, slots=True)
class ThreadHangs(Event):
    """A thread of the daemon has done nothing for `seconds`, though it has something to do."""

    KIND = "thread_hangs"
    TITLE = "a thread hangs"
    LEVEL = Level.CRITICAL
    thread: str
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class ThreadGoesOn(Event):
    """A thread that hung goes on, after `seconds` at least."""

    KIND = "thread_goes_on"
    TITLE = "a thread goes on"
    LEVEL = Level.NOTICE
    thread: str
    seconds: float
