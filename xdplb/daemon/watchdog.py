# SPDX-License-Identifier: Apache-2.0
"""The watchdog: a thread that notices when another one hangs, says so with all stacks, and lets systemd restart us.

systemd's side is `WatchdogSec=` (sd_watchdog_enabled(3)): it kills a service that does not say WATCHDOG=1 in time. Here
that is said only while all vital threads do what they are given. If Python itself hangs, with its lock held by code in
C, this thread hangs too, and so nothing is said; the stacks are then written by faulthandler, which needs no lock, when
systemd sends SIGABRT. It is not asked to write them by a clock of its own: that also runs while the process is stopped.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from xdplb.control.events import Events, ThreadGoesOn, ThreadHangs
from xdplb.control.writing.pulses import Hang, Pulses

from .systemd import notify

__all__ = ["watchdog", "watchdog_seconds"]

_log = logging.getLogger("xdplb")

_LIMIT_SECONDS = 15.0
"""For how long a thread may do nothing; less if systemd gives less than twice of that."""
_LOOKS = 5
_MOST_LOOK_SECONDS = 2.0
_LATE = 3


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return within how many seconds systemd must hear from this process again and again, None if it need not."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    with suppress(ValueError):
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
        return microseconds / 1e6 if microseconds > 0 else None
    return None


@contextmanager
def watchdog(pulses: Pulses, events: Events) -> Iterator[None]:
    """Watch these threads while in the block, and tell systemd, if it wants to hear it, that all is well."""
    asked = watchdog_seconds(os.environ, os.getpid())
    limit = _LIMIT_SECONDS if asked is None else min(_LIMIT_SECONDS, asked / 2)
    dog = _Watchdog(pulses, events, limit)
    thread = threading.Thread(target=dog.run, name="xdplb-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        dog.ended.set()
        thread.join()


class _Watchdog:
    def __init__(self, pulses: Pulses, events: Events, limit: float) -> None:
        self._pulses, self._events, self._limit = pulses, events, limit
        self._pause = min(limit / _LOOKS, _MOST_LOOK_SECONDS)
        self._hung: dict[str, Hang] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Look until it is ended."""
        before = time.monotonic()
        while not self.ended.wait(self._pause):
            now = time.monotonic()
            if now - before > _LATE * self._pause:  # this process was stopped, or Python hung: nobody could answer
                self._pulses.start_over()
            before = now
            if self._pulses.look(self._limit):
                notify("WATCHDOG=1")
            self._tell()

    def _tell(self) -> None:
        hangs = self._pulses.hangs
        for thread in self._hung.keys() - hangs.keys():
            self._events.say(ThreadGoesOn(thread, round(self._hung.pop(thread).seconds, 1)))
        new = hangs.keys() - self._hung.keys()
        self._hung.update(hangs)
        for thread in sorted(new):
            self._events.say(ThreadHangs(thread, round(hangs[thread].seconds, 1), hangs[thread].meaning))
        if new:
            _log_stacks()


def _log_stacks() -> None:
    """Write the stacks of all threads to the log."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            parts.append(f"thread {names.get(ident, ident)}, the most recent call last:")
            parts.append("".join(traceback.format_stack(frame)))
    record = _log.makeRecord(_log.name, logging.ERROR, __file__, 0, "the stacks of all threads:", (), None)
    record.stack_info = "\n".join(part.rstrip() for part in parts)
    _log.handle(record)
